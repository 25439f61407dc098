// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {World} from "../support/World.sol";
import {Handler} from "./Handler.sol";

/// @notice Everything that section 4.6 says must always hold, after each step of any sequence.
abstract contract InvariantBase is World {
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    Handler internal handler;

    function _start(bool token, bool funded) internal {
        handler = Handler(deployCode("Handler", abi.encode(token, funded)));
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    /// @dev The epoch machine more often than the rest, so that sequences reach late epochs.
    function targetSelectors() external view returns (FuzzSelector[] memory out) {
        bytes4[26] memory all = [
            Handler.deposit.selector, Handler.refund.selector, Handler.claimUnspent.selector, Handler.claimCapitalOf.selector,
            Handler.payRevenue.selector, Handler.payTiny.selector, Handler.force.selector, Handler.fundChannel.selector,
            Handler.settle.selector, Handler.withdrawFromChannel.selector, Handler.collect.selector, Handler.join.selector,
            Handler.leave.selector, Handler.claimComputeOf.selector, Handler.wait.selector, Handler.challenge.selector,
            Handler.answer.selector, Handler.endGames.selector, Handler.doubt.selector, Handler.judge.selector,
            Handler.endDoubts.selector, Handler.rotate.selector, Handler.withdrawBond.selector, Handler.equivocate.selector,
            Handler.ban.selector, Handler.replay.selector
        ];
        bytes4[] memory s = new bytes4[](36);
        for (uint256 i = 0; i < 36; ++i) {
            s[i] = i < 26 ? all[i] : i < 34 ? Handler.advance.selector : Handler.claimComputeOf.selector;
        }
        out = new FuzzSelector[](1);
        out[0] = FuzzSelector(address(handler), s);
    }

    function invariant_always() external view {
        handler.checkConservation();
        handler.checkSolvency();
        handler.checkPools();
        handler.checkEquality();
        handler.checkEscrow();
        handler.checkLedger();
    }
}

/// @notice A run that is funded and ready to train.
contract RunInvariantTest is InvariantBase {
    function setUp() public {
        _start(false, true);
    }

    /// The whole life of a run in one fixed sequence, so that every kind of step is known to have been taken.
    function test_wholeLifeHoldsTheInvariants() public {
        // For each epoch what its signers do: 0 lapses, 1 to 3 lie in a leaf, in the list and behind a hidden tree, the rest is true.
        uint8[9] memory plan = [5, 5, 2, 5, 1, 3, 0, 5, 5];
        for (uint256 i = 0; i < 100; ++i) {
            uint256 seed = uint256(keccak256(abi.encode(i)));
            handler.payRevenue(i * 7_919);
            if (i % 2 == 0) handler.advance(seed / 10 * 10 + plan[handler.nextEpoch()]);
            handler.payTiny(uint8(i));
            if (i % 7 == 0) handler.join();
            if (i % 3 == 0) handler.challenge(seed);
            if (handler.nextEpoch() == 7) {
                // Nobody stands up for the true report of epoch 6.
                handler.challenge(0);
                handler.wait(21);
                handler.endGames();
            } else if (i % 6 == 0) {
                handler.answer();
            }
            if (i % 9 == 3) handler.equivocate(seed);
            handler.doubt(seed, seed >> 8);
            handler.judge(seed, i % 2 == 0);
            handler.endDoubts();
            handler.endGames();
            if (i % 5 == 0) handler.rotate();
            handler.withdrawBond(seed);
            handler.ban(seed);
            handler.replay(seed);
            handler.fundChannel(i * 1_000);
            handler.settle(i * 31);
            handler.claimComputeOf(i, seed);
            handler.claimCapitalOf(i);
            handler.collect(uint8(i));
            if (i % 20 == 19) handler.leave(i);
            handler.withdrawFromChannel(i);
            handler.claimUnspent(i);
            if (i % 3 == 2) handler.wait(uint16(seed % 60));
            this.invariant_always();
        }
        string[18] memory kinds = [
            "final", "lapse", "lie", "bad list", "wrong leaf", "game", "answer", "default of a lie", "default of a true report", "doubt",
            "conviction", "acquittal", "enforced", "rotation", "bond withdrawn", "equivocation", "ban", "claim on an old root"
        ];
        for (uint256 i = 0; i < kinds.length; ++i) {
            ok(handler.count(kinds[i]) != 0, kinds[i]);
        }
    }
}

contract RunTokenInvariantTest is InvariantBase {
    function setUp() public {
        _start(true, true);
    }
}

/// @notice A run that has to be funded first, or fails.
contract CampaignInvariantTest is InvariantBase {
    function setUp() public {
        _start(false, false);
    }

    /// Below the goal everybody takes back what they put in, whatever else happens.
    function test_failedCampaignHoldsTheInvariants() public {
        handler.deposit(0, 499_999);
        handler.deposit(1, 499_998);
        handler.join();
        handler.wait(100);
        for (uint256 i = 0; i < 6; ++i) {
            handler.refund(i);
            handler.advance(i);
            handler.payRevenue(i);
            handler.leave(0);
            handler.withdrawBond(i);
            this.invariant_always();
        }
        ok(handler.refunded() == 999_999, "all of it");
    }
}

contract CampaignTokenInvariantTest is InvariantBase {
    function setUp() public {
        _start(true, false);
    }
}
