// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Base} from "./Base.sol";
import {Assets} from "../../../contracts/libraries/Assets.sol";
import {Actor} from "../../../contracts/mocks/Receivers.sol";
import {FalseToken, FeeToken, HookToken, PausableToken, PlainToken, RebasingToken, SilentToken} from "../../../contracts/mocks/Tokens.sol";

/// @notice Tokens and receivers that misbehave, the same for every contract that holds money. A contract's own test says how two actors
/// pay `AMOUNT` in, how that falls due again, and how it is paid out.
abstract contract HostileSuite is Base {
    uint256 internal constant AMOUNT = 10_000;
    Actor internal hostile;
    Actor internal other;

    /// @dev The contract under test.
    function target() internal view virtual returns (address);

    /// @dev What the run needs before anyone pays in.
    function before_() internal virtual {}

    /// @dev The call by which an actor pays `AMOUNT` in.
    function payInCall(Actor who) internal virtual returns (bytes memory);

    /// @dev Makes what both have paid in fall due.
    function ripen() internal virtual;

    /// @dev The call by which an actor is paid out.
    function payOutCall(Actor who) internal virtual returns (bytes memory);

    function _with(address token) internal {
        asset = token;
        createRun(defaultParams());
        hostile = new Actor();
        other = new Actor();
        before_();
    }

    function _payIn(Actor who) internal {
        bytes memory data = payInCall(who);
        uint256 value = _ready(who, AMOUNT);
        who.act{value: value}(target(), value, data);
    }

    /// @dev ETH for the call itself, or tokens and an allowance that cover several.
    function _ready(Actor who, uint256 amount) internal returns (uint256 value) {
        if (asset == address(0)) {
            vm.deal(address(this), amount);
            return amount;
        }
        PlainToken(asset).mint(address(who), amount);
        who.act(asset, 0, abi.encodeCall(IERC20.approve, (target(), type(uint256).max)));
    }

    function _payOut(Actor who) internal returns (uint256 got) {
        uint256 had = balance(address(who));
        who.act(target(), 0, payOutCall(who));
        got = balance(address(who)) - had;
    }

    function _bothDue(address token) internal {
        _with(token);
        _payIn(hostile);
        _payIn(other);
        ripen();
    }

    function _payOutFails(Actor who, bytes memory why) internal {
        bytes memory data = payOutCall(who);
        address to = target();
        vm.expectRevert(why);
        who.act(to, 0, data);
    }

    function _payInFails(bytes memory why) internal {
        bytes memory data = payInCall(hostile);
        address to = target();
        _ready(hostile, AMOUNT);
        vm.expectRevert(why);
        hostile.act(to, 0, data);
    }

    /*//////////////////////////////////////////////////////////////
                                TOKENS
    //////////////////////////////////////////////////////////////*/

    function test_hostile_feeOnTransfer() public {
        FeeToken token = new FeeToken();
        _with(address(token));
        token.charge(true);
        _payInFails(abi.encodeWithSelector(Assets.ReceivedOther.selector, AMOUNT, AMOUNT - AMOUNT / 100));
    }

    function test_hostile_falseReturn() public {
        FalseToken token = new FalseToken();
        _bothDue(address(token));
        token.fail(true);
        bytes memory why = abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, token);
        _payOutFails(hostile, why);
        token.fail(false);
        ok(_payOut(hostile) != 0, "stayed due");
    }

    function test_hostile_falseReturnOnTheWayIn() public {
        FalseToken token = new FalseToken();
        _with(address(token));
        token.fail(true);
        _payInFails(abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, token));
    }

    function test_hostile_revertingToken() public {
        PausableToken token = new PausableToken();
        _bothDue(address(token));
        token.pause(true);
        _payOutFails(hostile, abi.encodeWithSelector(PausableToken.Paused.selector));
        token.pause(false);
        token.block_(address(hostile), true);
        _payOutFails(hostile, abi.encodeWithSelector(PausableToken.Blocked.selector));
        ok(_payOut(other) != 0, "nobody else is blocked");
        token.block_(address(hostile), false);
        ok(_payOut(hostile) != 0, "stayed due");
    }

    function test_hostile_silentToken() public {
        _bothDue(address(new SilentToken()));
        ok(_payOut(hostile) != 0 && _payOut(other) != 0, "paid");
    }

    /// A balance that grows by itself is nobody's; one that shrinks stops payments that it no longer covers, and no others.
    function test_hostile_rebasingToken() public {
        RebasingToken token = new RebasingToken();
        _bothDue(address(token));
        uint256 start = vm.snapshotState();
        uint256 due = _payOut(other);
        vm.revertToState(start);
        token.rebase(2, 1);
        ok(_payOut(other) - due <= 1, "no more than before, but for the token's own rounding");
        vm.revertToState(start);
        uint256 held = token.balanceOf(target());
        // Just enough for one of the two.
        token.rebase(due, held);
        uint256 left = token.balanceOf(target());
        ok(left < 2 * due, "short");
        if (left >= due) eq(_payOut(other), due, "covered");
        left = token.balanceOf(target());
        _payOutFails(hostile, abi.encodeWithSelector(RebasingToken.TooLittle.selector, left, due));
    }

    /// A nested payment from a token's hook makes the outer one measure more than its amount.
    function test_hostile_hookReentersOnTheWayIn() public {
        _with(address(new HookToken()));
        bytes memory data = payInCall(hostile);
        address to = target();
        _ready(hostile, 2 * AMOUNT);
        hostile.onCallback(to, data);
        vm.expectRevert(abi.encodeWithSelector(Assets.ReceivedOther.selector, AMOUNT, 2 * AMOUNT));
        hostile.act(to, 0, data);
    }

    function test_hostile_hookReentersOnTheWayOut() public {
        _bothDue(address(new HookToken()));
        _reentersOnTheWayOut();
    }

    /*//////////////////////////////////////////////////////////////
                               RECEIVERS
    //////////////////////////////////////////////////////////////*/

    function test_hostile_receiverReenters() public {
        _bothDue(address(0));
        _reentersOnTheWayOut();
    }

    function _reentersOnTheWayOut() internal {
        hostile.onCallback(target(), payOutCall(hostile));
        uint256 got = _payOut(hostile);
        eq(hostile.hooks(), 1, "called back");
        ok(!hostile.callbackSucceeded(), "paid twice");
        eq(_payOut(other), got, "the other's money is there");
    }

    function test_hostile_receiverRefuses() public {
        _bothDue(address(0));
        hostile.set(Actor.Mood.Refuse);
        _payOutFails(hostile, abi.encodeWithSelector(Assets.PaymentRefused.selector, hostile));
        uint256 got = _payOut(other);
        hostile.set(Actor.Mood.Accept);
        eq(_payOut(hostile), got, "stayed due");
    }

    function test_hostile_receiverBurnsGas() public {
        _bothDue(address(0));
        hostile.set(Actor.Mood.Burn);
        bytes memory data = payOutCall(hostile);
        address to = target();
        (bool paid,) = address(hostile).call{gas: 400_000}(abi.encodeCall(Actor.act, (to, 0, data)));
        ok(!paid, "paid a gas burner");
        ok(_payOut(other) != 0, "nobody else is blocked");
    }
}
