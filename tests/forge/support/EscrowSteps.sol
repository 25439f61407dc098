// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "./Base.sol";
import {Milestone, RunParams} from "../../../contracts/interfaces/Types.sol";

/// @notice A run whose escrow is unlocked by three milestones.
abstract contract EscrowSteps is Base {
    function _withMilestones() internal {
        RunParams memory p = defaultParams();
        p.milestones = new Milestone[](3);
        p.milestones[0] = Milestone(7, 0, type(uint64).max, 2_000);
        p.milestones[1] = Milestone(1, 300, 2_999_999, 3_000);
        p.milestones[2] = Milestone(4, 1_000, type(uint64).max, 5_000);
        createRun(p);
    }
}
