// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IDues} from "./interfaces/IDues.sol";
import {IRevenueDistributor} from "./interfaces/IRevenueDistributor.sol";
import {Assets} from "./libraries/Assets.sol";
import {RunConstants} from "./libraries/RunConstants.sol";

/// @title Dues
/// @notice Base of the contracts that hold stakes and bonds: what is slashed is booked first and paid out by pull.
abstract contract Dues is IDues {
    uint256 internal constant BPS = 10_000;
    uint256 internal constant BOUNTY_BPS = 1_000;

    mapping(address => uint256) public owedTo;

    function payOwed(address account) external {
        uint256 amount = owedTo[account];
        if (amount == 0) revert NothingOwed();
        owedTo[account] = 0;
        emit OwedPaid(account, amount);
        address asset = RunConstants.asset();
        if (account == RunConstants.distributor()) {
            uint256 value = Assets.ready(asset, account, amount);
            IRevenueDistributor(account).payCapital{value: value}(amount);
        } else {
            Assets.give(asset, account, amount);
        }
    }

    function _owe(address account, uint256 amount) internal {
        if (amount == 0) return;
        owedTo[account] += amount;
        emit Owed(account, amount);
    }

    /// @dev Books slashed money: a tenth to the prover, the rest to the capital pool.
    function _share(uint256 amount, address prover) internal {
        uint256 bounty = amount * BOUNTY_BPS / BPS;
        _owe(prover, bounty);
        _owe(RunConstants.distributor(), amount - bounty);
    }
}
