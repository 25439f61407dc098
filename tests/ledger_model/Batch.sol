// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @notice Many reads in one eth_call. In: for each read the address (20 bytes), the length of its calldata (2 bytes, 0xffff for the
/// balance of the address) and the calldata. Out: for each whether it succeeded (1 byte), the length (3 bytes) and the answer.
contract Batch {
    fallback() external {
        assembly ("memory-safe") {
            let start := mload(0x40)
            let out := start
            for { let at := 0 } lt(at, calldatasize()) {} {
                let to := shr(96, calldataload(at))
                let size := shr(240, calldataload(add(at, 20)))
                at := add(at, 22)
                switch size
                case 0xffff {
                    mstore(out, shl(224, 0x01000020))
                    mstore(add(out, 4), balance(to))
                    out := add(out, 36)
                }
                default {
                    calldatacopy(add(out, 4), at, size)
                    let ok := staticcall(gas(), to, add(out, 4), size, 0, 0)
                    mstore(out, shl(224, or(shl(24, ok), returndatasize())))
                    returndatacopy(add(out, 4), 0, returndatasize())
                    out := add(out, add(4, returndatasize()))
                    at := add(at, size)
                }
            }
            return(start, sub(out, start))
        }
    }
}
