// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {Base} from "../support/Base.sol";
import {IRunPart} from "../../../contracts/interfaces/IRunPart.sol";
import {RunAddresses, RunParams} from "../../../contracts/interfaces/Types.sol";

/// @notice IRunPart.initialize: once, by the factory, and never an implementation.
contract RunPartInitializeTest is Base {
    function test_nothingIsInitialisedTwice() public {
        RunParams memory p = defaultParams();
        RunAddresses memory a = campaign.addresses();
        RunAddresses memory impl = factory.implementations();
        address[4] memory all = [a.campaign, a.oracle, impl.campaign, impl.oracle];
        for (uint256 i = 0; i < 4; ++i) {
            vm.expectRevert(Initializable.InvalidInitialization.selector);
            IRunPart(all[i]).initialize(p);
        }
    }
}
