// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {Base} from "../support/Base.sol";
import {EventLog} from "../support/EventLog.sol";
import {ICampaign} from "../../../contracts/interfaces/ICampaign.sol";
import {ICreditOracle} from "../../../contracts/interfaces/ICreditOracle.sol";
import {IRunFactory} from "../../../contracts/interfaces/IRunFactory.sol";
import {RunAddresses, RunParams} from "../../../contracts/interfaces/Types.sol";

/// @notice What the creation of a run logs.
contract RunFactoryEventsTest is Base, EventLog {
    function test_createRun() public {
        RunParams memory p = defaultParams();
        _listen();
        vm.prank(bob);
        address c = factory.createRun(p);
        _logged();
        RunAddresses memory a = ICampaign(c).addresses();
        bytes32 config =
            keccak256(abi.encode(keccak256("commonweight.config.v1"), keccak256("config"), uint32(0), uint16(3), p.signers));
        _by(address(factory));
        emit IRunFactory.RunCreated(c, bob, a, p);
        _by(c);
        emit Initializable.Initialized(1);
        _by(a.oracle);
        emit ICreditOracle.SignerSetChanged(0, config, 3, p.signers, p.transmitters);
        _by(a.oracle);
        emit Initializable.Initialized(1);
        _same();
    }
}
