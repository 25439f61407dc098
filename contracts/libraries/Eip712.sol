// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title Eip712
/// @notice The EIP-712 domain of every contract of a run: `Commonweight`, version `1`, this chain, this contract.
/// @dev Our own because OpenZeppelin's needs an instruction that EVM version shanghai lacks. Never cached: a clone has no
/// immutables of its own, and a fork of the chain must not accept old signatures.
library Eip712 {
    bytes32 internal constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 internal constant NAME_HASH = keccak256("Commonweight");
    bytes32 internal constant VERSION_HASH = keccak256("1");

    function domainSeparator() internal view returns (bytes32) {
        return keccak256(abi.encode(DOMAIN_TYPEHASH, NAME_HASH, VERSION_HASH, block.chainid, address(this)));
    }

    function digest(bytes32 structHash) internal view returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", domainSeparator(), structHash));
    }
}
