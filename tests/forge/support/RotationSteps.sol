// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "./Base.sol";
import {Rotation} from "../../../contracts/interfaces/Types.sol";

/// @notice A second signer set and the way to it.
abstract contract RotationSteps is Base {
    uint256[] internal newKeys;

    function _newSet() internal returns (Rotation memory n) {
        uint256 candidate = 9_000;
        while (newKeys.length < 3) {
            ++candidate;
            if (newKeys.length == 0 || vm.addr(candidate) > vm.addr(newKeys[newKeys.length - 1])) newKeys.push(candidate);
        }
        n.quorum = 2;
        n.signers = new address[](3);
        n.transmitters = new address[](3);
        for (uint256 i = 0; i < 3; ++i) {
            n.signers[i] = vm.addr(newKeys[i]);
            n.transmitters[i] = address(uint160(0x8000 + i));
        }
    }

    function _digest(Rotation memory n) internal view returns (bytes32) {
        bytes memory signers_;
        bytes memory transmitters_;
        for (uint256 i = 0; i < n.signers.length; ++i) {
            signers_ = abi.encodePacked(signers_, abi.encode(n.signers[i]));
            transmitters_ = abi.encodePacked(transmitters_, abi.encode(n.transmitters[i]));
        }
        bytes32 hash = keccak256(
            abi.encode(
                keccak256("Rotation(bytes32 configDigest,uint16 quorum,address[] signers,address[] transmitters)"),
                oracle.configDigest(),
                n.quorum,
                keccak256(signers_),
                keccak256(transmitters_)
            )
        );
        return typed(address(oracle), hash);
    }

    function _rotate() internal {
        Rotation memory n = _newSet();
        oracle.proposeRotation(n, signAll(_digest(n), 3));
        vm.warp(block.timestamp + 200);
        oracle.applyRotation(n);
    }
}
