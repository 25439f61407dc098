// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {RevenueDistributor} from "../../contracts/RevenueDistributor.sol";

/// @title Distribution
/// @notice What `_distribute` gives out and what it carries are together what was pending, to the scaled unit.
/// @dev For the bounded model checker: each function starts from any state, and an assertion must hold whatever it is.
contract Distribution is RevenueDistributor {
    function distributionIsExact(uint256 live) external {
        require(live != 0 && live < 1 << 64);
        require(_received.compute < 1 << 127 && _allocated <= _received.compute);
        require(_carry < 1 << 64);
        require(accCompute < 1 << 191);
        uint256 scaled = (pendingCompute() << SCALE_BITS) + _carry;
        uint256 before = accCompute;
        _distribute(live);
        assert((accCompute - before) * live + _carry == scaled);
        assert(_carry < live);
        assert(pendingCompute() == 0);
    }
}
