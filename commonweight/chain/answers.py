"""What a node's answer to each JSON-RPC method looks like (https://ethereum.github.io/execution-apis/).

What does not look like it is no answer, so that the next endpoint is asked; no later code has to expect it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

_Quantity = Annotated[str, Field(pattern=r"^0x[0-9a-fA-F]{1,64}$")]
_Number = Annotated[str, Field(pattern=r"^0x[0-9a-fA-F]{1,15}$")]  # what fits into 63 bits, also in a database
_Data = Annotated[str, Field(pattern=r"^0x[0-9a-fA-F]*$")]
_Hash = Annotated[str, Field(pattern=r"^0x[0-9a-fA-F]{64}$")]
_Address = Annotated[str, Field(pattern=r"^0x[0-9a-fA-F]{40}$")]
_NEWEST_OR_FIRST = ("latest", "0x0")  # blocks that every node has


class _Shape(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)


class _Block(_Shape):
    number: _Number
    hash: _Hash
    parent_hash: _Hash
    timestamp: _Number
    gas_limit: _Quantity
    base_fee_per_gas: _Quantity | None = None


class _Log(_Shape):
    address: _Address
    topics: list[_Hash] = Field(max_length=4)
    data: _Data
    block_number: _Number
    block_hash: _Hash
    transaction_hash: _Hash
    log_index: _Number


class _Receipt(_Shape):
    transaction_hash: _Hash
    block_number: _Number
    block_hash: _Hash
    gas_used: _Quantity
    status: _Number
    effective_gas_price: _Quantity | None = None
    contract_address: _Address | None = None
    logs: list[_Log]


class _Transaction(_Shape):
    input: _Data
    to: _Address | None = None


_SHAPES: dict[str, TypeAdapter[object]] = {
    "eth_blockNumber": TypeAdapter(_Number),
    "eth_call": TypeAdapter(_Data),
    "eth_chainId": TypeAdapter(_Number),
    "eth_estimateGas": TypeAdapter(_Number),
    "eth_getBalance": TypeAdapter(_Quantity),
    "eth_getBlockByHash": TypeAdapter(_Block | None),
    "eth_getBlockByNumber": TypeAdapter(_Block | None),
    "eth_getCode": TypeAdapter(_Data),
    "eth_getLogs": TypeAdapter(list[_Log]),
    "eth_getTransactionByHash": TypeAdapter(_Transaction | None),
    "eth_getTransactionCount": TypeAdapter(_Number),
    "eth_getTransactionReceipt": TypeAdapter(_Receipt | None),
    "eth_sendRawTransaction": TypeAdapter(_Hash),
    "web3_clientVersion": TypeAdapter(str),
}


def well_formed(method: str, params: Sequence[object], result: object) -> bool:
    """Whether a result can be one of this method; methods that are not listed may answer anything."""
    shape = _SHAPES.get(method)
    if shape is None:
        return True
    try:
        shape.validate_python(result)
    except ValidationError:
        return False
    return result is not None or method != "eth_getBlockByNumber" or params[0] not in _NEWEST_OR_FIRST
