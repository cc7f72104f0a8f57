"""What any client finds in an error of ours."""

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status


def details(error: grpc.RpcError) -> tuple[error_details_pb2.ErrorInfo, list]:
    """The error's ErrorInfo and its other details."""
    found = []
    for packed in rpc_status.from_call(error).details:
        message = getattr(error_details_pb2, packed.TypeName().rpartition(".")[2])()
        assert packed.Unpack(message)
        found.append(message)
    assert isinstance(found[0], error_details_pb2.ErrorInfo)
    assert found[0].domain == "styleserve"
    return found[0], found[1:]


async def refused(call) -> tuple[grpc.StatusCode, str, list]:
    """The code, the reason and the other details of the error that the call must end with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    info, others = details(caught.value)
    return caught.value.code(), info.reason, others
