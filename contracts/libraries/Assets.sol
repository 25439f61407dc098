// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {LowLevelCall} from "@openzeppelin/contracts/utils/LowLevelCall.sol";

/// @title Assets
/// @notice The one place where money moves: native ETH when the asset is the zero address, otherwise an ERC-20.
/// @dev `take` comes before a caller reads or writes any state, `give` after all of it: whatever a token or receiver calls in
/// between finds consistent books, so no reentrancy lock is needed. A token that takes a fee is refused by measuring.
library Assets {
    using SafeERC20 for IERC20;

    error WrongValue(uint256 expected);
    error ReceivedOther(uint256 expected, uint256 received);
    error PaymentRefused(address receiver);

    function take(address asset, uint256 amount) internal {
        takeFrom(asset, msg.sender, amount);
    }

    /// @dev Only for a `from` that has consented: the caller itself, or the signer of a permit.
    function takeFrom(address asset, address from, uint256 amount) internal {
        if (asset == address(0)) {
            if (msg.value != amount) revert WrongValue(amount);
            return;
        }
        if (msg.value != 0) revert WrongValue(0);
        if (amount == 0) return; // some tokens refuse to move nothing, and a run may ask for no bond
        uint256 before = IERC20(asset).balanceOf(address(this));
        IERC20(asset).safeTransferFrom(from, address(this), amount);
        uint256 received = IERC20(asset).balanceOf(address(this)) - before;
        if (received != amount) revert ReceivedOther(amount, received);
    }

    function give(address asset, address to, uint256 amount) internal {
        if (asset == address(0)) {
            if (!LowLevelCall.callNoReturn(to, amount, "")) revert PaymentRefused(to);
        } else {
            IERC20(asset).safeTransfer(to, amount);
        }
    }

    /// @notice Readies `amount` for a call to `spender`, which takes it; returns the ETH to send with the call.
    function ready(address asset, address spender, uint256 amount) internal returns (uint256 value) {
        if (asset == address(0)) return amount;
        IERC20(asset).forceApprove(spender, amount);
    }
}
