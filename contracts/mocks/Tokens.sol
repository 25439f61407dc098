// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @notice Test-only tokens: a plain one and the ways in which tokens misbehave.
contract PlainToken is ERC20("Plain", "PLN") {
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }
}

/// @notice Takes one percent of every transfer once it is switched on.
contract FeeToken is ERC20("Fee", "FEE") {
    bool public charging;

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function charge(bool on) external {
        charging = on;
    }

    function _update(address from, address to, uint256 amount) internal override {
        if (charging && from != address(0)) {
            super._update(from, address(0xFEE), amount / 100);
            amount -= amount / 100;
        }
        super._update(from, to, amount);
    }
}

/// @notice Returns false instead of reverting once it is switched on.
contract FalseToken is ERC20("False", "FLS") {
    bool public failing;

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function fail(bool on) external {
        failing = on;
    }

    function transfer(address to, uint256 amount) public override returns (bool) {
        return failing ? false : super.transfer(to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) public override returns (bool) {
        return failing ? false : super.transferFrom(from, to, amount);
    }
}

/// @notice Reverts on any transfer while paused, and always for a blocked receiver.
contract PausableToken is ERC20("Pausable", "PSE") {
    bool public paused;
    mapping(address => bool) public blocked;

    error Paused();
    error Blocked();

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function pause(bool on) external {
        paused = on;
    }

    function block_(address who, bool on) external {
        blocked[who] = on;
    }

    function _update(address from, address to, uint256 amount) internal override {
        if (paused) revert Paused();
        if (blocked[to]) revert Blocked();
        super._update(from, to, amount);
    }
}

/// @notice Calls back the sender's hook before it moves anything and the receiver's after, as ERC-777 does.
contract HookToken is ERC20("Hook", "HKT") {
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function _update(address from, address to, uint256 amount) internal override {
        if (from.code.length != 0) {
            (bool ok,) = from.call(abi.encodeWithSignature("tokensToSend(uint256)", amount));
            ok;
        }
        super._update(from, to, amount);
        if (to.code.length != 0) {
            (bool ok,) = to.call(abi.encodeWithSignature("tokensReceived(uint256)", amount));
            ok;
        }
    }
}

/// @notice Calls into a contract of its issuer's choice before anything moves, and needs no success of it.
contract MeddlingToken is ERC20("Meddling", "MDL") {
    address internal _target;
    bytes internal _data;
    bool internal _alone;

    error Busy();

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function meddle(address target, bytes calldata data) external {
        (_target, _data) = (target, data);
    }

    /// @dev From now on nothing moves within that call. Nor does anything while its target is the token itself.
    function alone() external {
        _alone = true;
    }

    function _update(address from, address to, uint256 amount) internal override {
        address target = _target;
        if (target == address(this)) revert Busy();
        if (target != address(0)) {
            // Once only, or a call that moves the token would go on for ever.
            _target = _alone ? address(this) : address(0);
            (bool ok,) = target.call(_data);
            ok;
            delete _target;
        }
        super._update(from, to, amount);
    }
}

/// @notice Refuses to move nothing, as some do.
contract WholeToken is ERC20("Whole", "WHL") {
    error Nothing();

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function _update(address from, address to, uint256 amount) internal override {
        if (amount == 0) revert Nothing();
        super._update(from, to, amount);
    }
}

/// @notice Changes everybody's balance by one factor, as rebasing tokens do.
contract RebasingToken {
    uint256 internal _numerator = 1;
    uint256 internal _denominator = 1;
    mapping(address => uint256) internal _parts;
    mapping(address => mapping(address => uint256)) public allowance;

    error TooLittle(uint256 held, uint256 amount);

    /// @dev Balances become `numerator / denominator` of what they were before the first rebase.
    function rebase(uint256 numerator, uint256 denominator) external {
        (_numerator, _denominator) = (numerator, denominator);
    }

    function mint(address to, uint256 amount) external {
        _parts[to] += amount;
    }

    function balanceOf(address who) public view returns (uint256) {
        return _parts[who] * _numerator / _denominator;
    }

    function approve(address spender, uint256 amount) external returns (bool) {
        allowance[msg.sender][spender] = amount;
        return true;
    }

    function transfer(address to, uint256 amount) external returns (bool) {
        return _move(msg.sender, to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        allowance[from][msg.sender] -= amount;
        return _move(from, to, amount);
    }

    function _move(address from, address to, uint256 amount) internal returns (bool) {
        if (balanceOf(from) < amount) revert TooLittle(balanceOf(from), amount);
        uint256 parts = (amount * _denominator + _numerator - 1) / _numerator;
        _parts[from] -= parts;
        _parts[to] += parts;
        return true;
    }
}

/// @notice Returns nothing from transfer and transferFrom, as some old tokens do.
contract SilentToken {
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    function approve(address spender, uint256 amount) external {
        require(amount == 0 || allowance[msg.sender][spender] == 0);
        allowance[msg.sender][spender] = amount;
    }

    function transfer(address to, uint256 amount) external {
        balanceOf[msg.sender] -= amount;
        balanceOf[to] += amount;
    }

    function transferFrom(address from, address to, uint256 amount) external {
        allowance[from][msg.sender] -= amount;
        balanceOf[from] -= amount;
        balanceOf[to] += amount;
    }
}

/// @notice A token with ERC-2612 permits and ERC-3009 authorisations, both checked as their standards say.
contract SigningToken is ERC20("Signing", "SGN") {
    bytes32 internal constant PERMIT =
        keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
    bytes32 internal constant RECEIVE = keccak256(
        "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );
    mapping(address => uint256) public nonces;
    mapping(address => mapping(bytes32 => bool)) public used;
    uint256 public fee;

    error BadPermit();

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function setFee(uint256 fee_) external {
        fee = fee_;
    }

    function DOMAIN_SEPARATOR() public view returns (bytes32) {
        return keccak256(abi.encode(keccak256("EIP712Domain(uint256 chainId,address verifyingContract)"), block.chainid, address(this)));
    }

    function permit(address owner, address spender, uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external {
        if (block.timestamp > deadline) revert BadPermit();
        bytes32 hash = keccak256(abi.encode(PERMIT, owner, spender, value, nonces[owner]++, deadline));
        _check(owner, hash, v, r, s);
        _approve(owner, spender, value);
    }

    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        if (msg.sender != to || block.timestamp <= validAfter || block.timestamp >= validBefore || used[from][nonce]) revert BadPermit();
        used[from][nonce] = true;
        _check(from, keccak256(abi.encode(RECEIVE, from, to, value, validAfter, validBefore, nonce)), v, r, s);
        _transfer(from, to, value - fee);
    }

    function _check(address owner, bytes32 hash, uint8 v, bytes32 r, bytes32 s) internal view {
        bytes32 digest = keccak256(abi.encodePacked("\x19\x01", DOMAIN_SEPARATOR(), hash));
        if (ecrecover(digest, v, r, s) != owner) revert BadPermit();
    }
}
