// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ICampaign} from "../../../contracts/interfaces/ICampaign.sol";
import {ICheckpointRegistry} from "../../../contracts/interfaces/ICheckpointRegistry.sol";
import {ICreditLedger} from "../../../contracts/interfaces/ICreditLedger.sol";
import {ICreditOracle} from "../../../contracts/interfaces/ICreditOracle.sol";
import {IDisputes} from "../../../contracts/interfaces/IDisputes.sol";
import {IDues} from "../../../contracts/interfaces/IDues.sol";
import {IInferencePayments} from "../../../contracts/interfaces/IInferencePayments.sol";
import {IProviderRegistry} from "../../../contracts/interfaces/IProviderRegistry.sol";
import {IRevenueDistributor} from "../../../contracts/interfaces/IRevenueDistributor.sol";
import {IRunFactory} from "../../../contracts/interfaces/IRunFactory.sol";
import "../../../contracts/interfaces/Types.sol";
import {TreeModel} from "./TreeModel.sol";
import {Vm} from "./Vm.sol";
import {PlainToken} from "../../../contracts/mocks/Tokens.sol";

/// @dev The tests know the contracts by their interfaces alone, so that a change of a contract compiles no test again.
interface IRegistry is IProviderRegistry, IDues {}

interface IOracle is ICreditOracle, IDues {}

interface ICourt is IDisputes, IDues {}

/// @notice What a test and the steps it borrows share: one run, its actors, and models written from the specification.
abstract contract World {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    uint64 internal constant T0 = 1_000_000;
    uint64 internal constant L = 1_000;
    uint256 internal constant GOAL = 1_000_000;
    uint256 internal constant CAP = 3_000_000;
    uint256 internal constant STAKE = 5_000;
    uint256 internal constant BOND = 7_000;

    IRunFactory internal factory;
    ICampaign internal campaign;
    IRegistry internal registry;
    IOracle internal oracle;
    ICreditLedger internal ledger;
    ICheckpointRegistry internal checkpoints;
    IRevenueDistributor internal distributor;
    IInferencePayments internal payments;
    ICourt internal disputes;
    TreeModel internal tree;

    uint256[] internal signerKeys;
    address internal asset;
    address internal constant alice = address(0xA11CE);
    address internal constant bob = address(0xB0B);
    address internal constant carol = address(0xCA401);
    uint32[] internal listIndices;
    uint64[] internal listCredits;
    /// @dev The last report that was accepted, which finalising takes.
    Report internal accepted;
    address internal stage;
    address internal firstTree;
    uint256 internal fresh;
    bool internal inner;

    /// @dev From the artifact, so that no test contract carries the code of all others.
    function deployCode(string memory name, bytes memory arguments) internal returns (address made) {
        bytes memory code = abi.encodePacked(vm.getCode(name), arguments);
        assembly ("memory-safe") {
            made := create(0, add(code, 0x20), mload(code))
        }
        if (made == address(0)) revert NotTrue(name);
    }

    /// @dev The first from its artifact; the others copy its code, since reading an artifact takes a thousand times as long.
    function newTree() internal returns (TreeModel) {
        if (firstTree == address(0)) {
            firstTree = deployCode("TreeModel", "");
            return TreeModel(firstTree);
        }
        bytes memory runtime = firstTree.code;
        bytes memory code = abi.encodePacked(hex"61", uint16(runtime.length), hex"80600a3d393df3", runtime);
        address made;
        assembly ("memory-safe") {
            made := create(0, add(code, 0x20), mload(code))
        }
        return TreeModel(made);
    }

    /// @dev Keys whose addresses ascend.
    function _makeSigners(uint256 n) internal {
        uint256 candidate = 1000;
        while (signerKeys.length < n) {
            ++candidate;
            if (signerKeys.length == 0 || vm.addr(candidate) > vm.addr(signerKeys[signerKeys.length - 1])) {
                signerKeys.push(candidate);
            }
        }
    }

    function signerAddresses() internal view returns (address[] memory set) {
        set = new address[](signerKeys.length);
        for (uint256 i = 0; i < set.length; ++i) {
            set[i] = vm.addr(signerKeys[i]);
        }
    }

    function give(address to, uint256 amount) internal {
        if (asset == address(0)) vm.deal(to, to.balance + amount);
        else PlainToken(asset).mint(to, amount);
    }

    function balance(address who) internal view returns (uint256) {
        return asset == address(0) ? who.balance : PlainToken(asset).balanceOf(who);
    }

    function providerAccount(uint32 i) internal pure returns (address) {
        return address(uint160(0x10000 + i));
    }

    function payoutAddress(uint32 i) internal pure returns (address) {
        return address(uint160(0x20000 + i));
    }

    function epochEnd(uint64 e) internal pure returns (uint256) {
        return T0 + 100 + (uint256(e) + 1) * L;
    }

    function list(uint32 index, uint64 credits) internal {
        listIndices.push(index);
        listCredits.push(credits);
    }

    function packedList() internal view returns (bytes memory out) {
        for (uint256 i = 0; i < listIndices.length; ++i) {
            out = abi.encodePacked(out, listIndices[i], listCredits[i]);
        }
    }

    function clearList() internal {
        delete listIndices;
        delete listCredits;
    }

    /// @dev Scaled wage of an epoch, from the specification's formula.
    function wageModel(uint256 unlocked, uint256 credits) internal pure returns (uint256) {
        if (credits == 0) return 0;
        uint256 b = unlocked * 10_000 / 10_500;
        uint256 full = uint256(10) << 64;
        uint256 fits = (b << 64) / credits;
        return fits < full ? fits : full;
    }

    function depthModel(uint32 providers, uint8 before) internal pure returns (uint8 d) {
        d = before == 0 ? 1 : before;
        while ((uint256(1) << d) < providers) ++d;
    }

    function typed(address verifying, bytes32 structHash) internal view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Commonweight"),
                keccak256("1"),
                block.chainid,
                verifying
            )
        );
        return keccak256(abi.encodePacked("\x19\x01", domain, structHash));
    }

    function signWith(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function lastDepth() internal view returns (uint8 depth) {
        (,,,, depth) = ledger.latest();
    }

    function latestEpoch() internal view returns (uint64 e) {
        (e,,,,) = ledger.latest();
    }

    /*//////////////////////////////////////////////////////////////
                               ASSERTIONS
    //////////////////////////////////////////////////////////////*/

    error NotEqual(string what, uint256 a, uint256 b);
    error NotTrue(string what);

    function eq(uint256 a, uint256 b, string memory what) internal pure {
        if (a != b) revert NotEqual(what, a, b);
    }

    function eq(address a, address b, string memory what) internal pure {
        if (a != b) revert NotEqual(what, uint160(a), uint160(b));
    }

    function eq(bytes32 a, bytes32 b, string memory what) internal pure {
        if (a != b) revert NotEqual(what, uint256(a), uint256(b));
    }

    function ok(bool value, string memory what) internal pure {
        if (!value) revert NotTrue(what);
    }

    function bound(uint256 x, uint256 low, uint256 high) internal pure returns (uint256) {
        return low + x % (high - low + 1);
    }

    /// @dev Under another digest a signature recovers another key: no signer's, or one out of order.
    function deadSignatures(bool taken, bytes memory why) internal pure {
        ok(!taken, "accepted");
        bytes4 reason = bytes4(why);
        ok(reason == ICreditOracle.NotSigner.selector || reason == ICreditOracle.WrongSignatureOrder.selector, "another reason");
    }
}
