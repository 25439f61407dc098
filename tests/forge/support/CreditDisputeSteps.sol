// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "./Base.sol";
import {Report, RunParams, Verdict} from "../../../contracts/interfaces/Types.sol";

/// @notice A reported epoch whose credits someone may doubt, and the steps of doubting them.
abstract contract CreditDisputeSteps is Base {
    uint256 internal constant DISPUTE_BOND = 1_000;
    Report internal good;
    bytes internal goodList;

    function arrange() internal virtual override {
        RunParams memory p = defaultParams();
        p.disputePeriod = 2_000;
        createRun(p);
        launch(2);
        list(0, 60);
        list(1, 40);
        close(0);
        good = honestReport(0);
        goodList = packedList();
        submit(good);
        clearList();
    }

    function _challenge(uint64 e, uint32 index) internal {
        uint256 value = ready(carol, address(disputes), DISPUTE_BOND);
        vm.prank(carol);
        disputes.challengeCredits{value: value}(e, index, keccak256("why"));
    }

    function _verdict(uint64 e, uint32 index, bool convicted) internal view returns (Verdict memory v, bytes[] memory sigs) {
        v = Verdict(e, index, convicted, keccak256("verdict"));
        bytes32 hash = keccak256(
            abi.encode(
                keccak256("Verdict(bytes32 configDigest,uint64 epoch,uint32 index,bool convicted,bytes32 evidenceSha256)"),
                oracle.configDigest(),
                e,
                index,
                convicted,
                v.evidenceSha256
            )
        );
        sigs = signAll(typed(address(oracle), hash), 3);
    }

    function _judge(uint64 e, uint32 index, bool convicted) internal {
        (Verdict memory v, bytes[] memory sigs) = _verdict(e, index, convicted);
        disputes.submitVerdict(v, sigs);
    }
}
