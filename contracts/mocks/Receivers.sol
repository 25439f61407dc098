// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @notice Test-only accounts with code. An `Actor` does what it is told and can be made to refuse ETH, burn gas or call back.
contract Actor {
    enum Mood {
        Accept,
        Refuse,
        Burn,
        CallBack
    }

    Mood public mood;
    address public target;
    bytes public data;
    uint256 public hooks;
    bool public callbackSucceeded;

    error Refused();

    function set(Mood mood_) external {
        mood = mood_;
    }

    function onCallback(address target_, bytes calldata data_) external {
        (mood, target, data) = (Mood.CallBack, target_, data_);
    }

    function act(address to, uint256 value, bytes calldata call_) external payable returns (bytes memory) {
        (bool ok, bytes memory out) = to.call{value: value}(call_);
        if (!ok) {
            assembly ("memory-safe") {
                revert(add(out, 0x20), mload(out))
            }
        }
        return out;
    }

    function tokensToSend(uint256) external {
        _react();
    }

    function tokensReceived(uint256) external {
        _react();
    }

    receive() external payable {
        _react();
    }

    function _react() internal {
        if (mood == Mood.Refuse) revert Refused();
        if (mood == Mood.Burn) {
            while (true) ++hooks;
        }
        if (mood == Mood.CallBack && hooks == 0) {
            hooks = 1;
            (bool ok,) = target.call(data);
            callbackSucceeded = ok;
        }
    }
}

/// @notice Forces ETH into any address.
contract ForceEther {
    constructor(address payable to) payable {
        selfdestruct(to);
    }
}
