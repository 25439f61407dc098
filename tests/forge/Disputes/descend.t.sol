// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {RootGameSteps} from "../support/RootGameSteps.sol";
import {IDisputes} from "../../../contracts/interfaces/IDisputes.sol";
import {Sibling} from "../../../contracts/interfaces/Types.sol";

/// @notice Disputes.descend: the challenger goes on, in time and on a report that stands.
contract DisputesDescendTest is RootGameSteps {
    /// A game on a report that fell cannot hold up the next one.
    function test_noMoveOnAFallenReport() public eachAsset {
        _hide();
        uint256 game = _open(carol);
        _answer(6, 0);
        vm.expectRevert(IDisputes.AlreadyAnswered.selector);
        disputes.timeoutAnswer(game);
        _prove(33);
        Sibling[] memory d = lie.descendants(6, 0, 5);
        vm.prank(carol);
        vm.expectRevert(IDisputes.NotPending.selector);
        disputes.descend(game, d, 16);
        disputes.closeGame(game);
        eq(disputes.owedTo(carol), CHALLENGE_BOND, "bond back");
    }

    /// Whoever comes to a node that was answered long ago has a whole time to move on from it.
    function test_timeToMoveCountsFromTheMove() public eachAsset {
        _honest();
        uint256 start = block.timestamp;
        uint256 first = _open(carol);
        _answer(6, 0);
        _descend(first, 6, 0, 3);
        _answer(1, 3);
        vm.warp(start + 10);
        uint256 second = _open(bob);
        vm.warp(start + 25);
        Sibling[] memory d = lie.descendants(6, 0, 5);
        vm.prank(bob);
        disputes.descend(second, d, 3);
        vm.warp(start + 44);
        vm.expectRevert(IDisputes.TooEarly.selector);
        disputes.closeGame(second);
        vm.warp(start + 45);
        disputes.closeGame(second);
        eq(disputes.owedTo(bob), 0, "silent");
    }

    /// Three answers lead through eleven levels.
    function test_placesOfADeepTree() public {
        launch(3);
        _registered(1_025);
        _history();
        _submitLie(12);
        eq(bad.depth, 11, "depth");
        uint256 game = _open(carol);
        _answer(11, 0);
        _descend(game, 11, 0, 5);
        _answer(6, 5);
        Sibling[] memory d = lie.descendants(6, 5, 5);
        vm.prank(carol);
        disputes.descend(game, d, 9);
        (,, uint8 level, uint32 position,,) = disputes.gameAt(game);
        eq(level, 1, "level");
        eq(position, 5 * 32 + 9, "position");
        _answer(1, position);
    }

    /// @dev Makes the registry say that so many providers are registered, without registering them one by one.
    function _registered(uint32 n) internal {
        uint32 now_ = registry.providerCount();
        for (uint256 slot = 0; slot < 20; ++slot) {
            bytes32 word = vm.load(address(registry), bytes32(slot));
            for (uint256 shift = 0; shift < 256; shift += 32) {
                if (uint32(uint256(word) >> shift) != now_) continue;
                vm.store(address(registry), bytes32(slot), bytes32(uint256(word) ^ (uint256(now_ ^ n) << shift)));
                if (registry.providerCount() == n) return;
                vm.store(address(registry), bytes32(slot), word);
            }
        }
        revert NotTrue("slot of providerCount not found");
    }
}
