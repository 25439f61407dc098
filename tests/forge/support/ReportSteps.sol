// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "./Base.sol";
import {Report} from "../../../contracts/interfaces/Types.sol";

/// @notice An honest report on epoch 0, ready to be sent.
abstract contract ReportSteps is Base {
    Report internal r;
    bytes internal credits;

    function _prepare() internal {
        launch(2);
        close(0);
        list(0, 7);
        r = honestReport(0);
        credits = packedList();
    }

    function _refused(bytes[] memory sigs, bytes memory with) internal {
        vm.expectRevert(with);
        oracle.submitReport(r, credits, sigs);
    }
}
