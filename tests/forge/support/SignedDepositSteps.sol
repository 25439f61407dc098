// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "./Base.sol";
import {SigningToken} from "../../../contracts/mocks/Tokens.sol";

/// @notice A funder that signs permits and authorisations.
abstract contract SignedDepositSteps is Base {
    uint256 internal constant KEY = 0xF00D;
    SigningToken internal token;
    address internal funder;

    function arrange() internal override {
        token = new SigningToken();
        asset = address(token);
        super.arrange();
        funder = vm.addr(KEY);
        token.mint(funder, 10_000);
    }

    function _permit(uint256 amount, uint256 deadline) internal view returns (uint8 v, bytes32 r, bytes32 s) {
        bytes32 hash = keccak256(
            abi.encode(
                keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"),
                funder,
                address(campaign),
                amount,
                token.nonces(funder),
                deadline
            )
        );
        return vm.sign(KEY, keccak256(abi.encodePacked("\x19\x01", token.DOMAIN_SEPARATOR(), hash)));
    }

    function _authorise(address to, uint256 amount, bytes32 nonce) internal view returns (uint8 v, bytes32 r, bytes32 s) {
        bytes32 hash = keccak256(
            abi.encode(
                keccak256(
                    "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
                ),
                funder,
                to,
                amount,
                0,
                type(uint256).max,
                nonce
            )
        );
        return vm.sign(KEY, keccak256(abi.encodePacked("\x19\x01", token.DOMAIN_SEPARATOR(), hash)));
    }
}
