// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {CreditList} from "../../contracts/libraries/CreditList.sol";

/// @dev Puts memory values into the calldata that the library reads.
contract List {
    function creditsOf(bytes calldata list, uint32 index) external pure returns (uint64) {
        return CreditList.creditsOf(list, index);
    }
}

/// @title CreditListChecks
/// @notice The binary search finds what a look at every entry finds, in every ascending list of up to five entries.
contract CreditListChecks {
    uint256 internal constant LONGEST = 5;
    List internal list = new List();

    function check_searchFindsWhatIsListed(uint32[LONGEST] memory indices, uint64[LONGEST] memory credits, uint32 wanted)
        external
        view
    {
        bytes memory packed;
        uint64 expected = 0;
        assert(list.creditsOf(packed, wanted) == 0);
        for (uint256 k = 0; k < LONGEST; ++k) {
            if (k != 0 && indices[k] <= indices[k - 1]) return;
            packed = abi.encodePacked(packed, indices[k], credits[k]);
            if (indices[k] == wanted) expected = credits[k];
            assert(list.creditsOf(packed, wanted) == expected);
        }
    }
}
