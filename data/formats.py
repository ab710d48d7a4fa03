"""Tables as the bytes of files."""

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq


def to_parquet(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()


def to_arrow(table: pa.Table, batch_rows: int = 1024) -> pa.Buffer:
    """The IPC file format, uncompressed, so that readers can map it."""
    measure = pa.MockOutputStream()  # a stream that grows would copy the table several times
    with pa.ipc.new_file(measure, table.schema) as writer:
        writer.write_table(table, max_chunksize=batch_rows)
    buffer = pa.allocate_buffer(measure.size())
    with pa.ipc.new_file(pa.FixedSizeBufferWriter(buffer), table.schema) as writer:
        writer.write_table(table, max_chunksize=batch_rows)
    return buffer
