// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @notice A token with permits as ERC-2612 has them and most tokens do: the domain has a name and a version. Six decimal places.
contract PermitToken is ERC20("Permit Dollar", "PUSD") {
    string public constant version = "2";
    mapping(address => uint256) public nonces;
    mapping(address => mapping(bytes32 => bool)) public authorizationState; // of ERC-3009 it has this much and no more

    error BadPermit();

    constructor(address holder) {
        _mint(holder, 1_000_000e6);
    }

    function decimals() public pure override returns (uint8) {
        return 6;
    }

    function DOMAIN_SEPARATOR() public view returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Permit Dollar"),
                keccak256(bytes(version)),
                block.chainid,
                address(this)
            )
        );
    }

    function permit(address owner, address spender, uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external {
        bytes32 kind = keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        bytes32 hash = keccak256(abi.encode(kind, owner, spender, value, nonces[owner]++, deadline));
        address signer = ecrecover(keccak256(abi.encodePacked("\x19\x01", DOMAIN_SEPARATOR(), hash)), v, r, s);
        if (signer != owner || block.timestamp > deadline) revert BadPermit();
        _approve(owner, spender, value);
    }
}

/// @notice A token with what the most used dollar tokens have: permits (ERC-2612), and authorisations that only their receiver can bring (ERC-3009).
contract DollarToken is PermitToken {
    bytes32 internal constant RECEIVE = keccak256(
        "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );

    constructor(address holder) PermitToken(holder) {}

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
        require(to == msg.sender, "caller must be the payee");
        require(block.timestamp > validAfter, "authorization is not yet valid");
        require(block.timestamp < validBefore, "authorization is expired");
        require(!authorizationState[from][nonce], "authorization is used");
        bytes32 hash = keccak256(abi.encode(RECEIVE, from, to, value, validAfter, validBefore, nonce));
        require(ecrecover(keccak256(abi.encodePacked("\x19\x01", DOMAIN_SEPARATOR(), hash)), v, r, s) == from, "invalid signature");
        authorizationState[from][nonce] = true;
        _transfer(from, to, value);
    }
}

/// @notice A token that knows allowances only.
contract OldToken is ERC20("Old", "OLD") {
    constructor(address holder) {
        _mint(holder, 1_000e18);
    }
}

/// @notice A token that changes an allowance to zero or from zero only, as the first large dollar token does.
contract ZeroFirstToken is ERC20("Zero First", "ZERO") {
    constructor(address holder) {
        _mint(holder, 1_000e18);
    }

    function approve(address spender, uint256 value) public override returns (bool) {
        require(value == 0 || allowance(msg.sender, spender) == 0, "zero first");
        return super.approve(spender, value);
    }
}

/// @notice A token with neither symbol nor decimals, which EIP-20 leaves open.
contract BareToken {
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;

    constructor(address holder) {
        balanceOf[holder] = 1_000;
    }

    function approve(address spender, uint256 value) external returns (bool) {
        allowance[msg.sender][spender] = value;
        return true;
    }

    function transfer(address to, uint256 value) external returns (bool) {
        balanceOf[msg.sender] -= value;
        balanceOf[to] += value;
        return true;
    }

    function transferFrom(address from, address to, uint256 value) external returns (bool) {
        allowance[from][msg.sender] -= value;
        balanceOf[from] -= value;
        balanceOf[to] += value;
        return true;
    }
}

/// @notice A token whose symbol is a word and not a text, as those of the first years.
contract WordToken is BareToken {
    bytes32 public constant symbol = "WORD";
    uint8 public constant decimals = 2;

    constructor(address holder) BareToken(holder) {}
}

/// @notice A token that calls itself by the coin's name.
contract FalseEther is ERC20("Ether", "ETH") {
    constructor(address holder) {
        _mint(holder, 1_000e18);
    }
}

/// @notice A token whose symbol turns what follows around.
contract TurningToken is ERC20("Turning", string(hex"e280ae444c4f")) {
    constructor(address holder) {
        _mint(holder, 1_000e18);
    }
}

/// @notice A token whose issuer can hold all transfers back.
contract HeldToken is ERC20("Held", "HELD") {
    bool public held;

    constructor(address holder) {
        _mint(holder, 1_000e18);
    }

    function hold(bool now_) external {
        held = now_;
    }

    function _update(address from, address to, uint256 value) internal override {
        require(!held, "held");
        super._update(from, to, value);
    }
}
