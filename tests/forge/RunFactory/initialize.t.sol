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
        address[16] memory all = [
            a.campaign, a.registry, a.oracle, a.ledger, a.checkpoints, a.distributor, a.payments, a.disputes,
            impl.campaign, impl.registry, impl.oracle, impl.ledger, impl.checkpoints, impl.distributor, impl.payments, impl.disputes
        ];
        for (uint256 i = 0; i < 16; ++i) {
            vm.expectRevert(Initializable.InvalidInitialization.selector);
            IRunPart(all[i]).initialize(p, a);
        }
    }
}
