# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Bags as other people have them: damaged, odd, foreign; nothing is lost without a word."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import lz4.frame  # type: ignore[import-untyped]
import mcap_factory as factory
import numpy as np
import pytest
import yaml
from rosbags.rosbag2.storage_mcap import zstd

from eloss_perception.datasets.bags import messages
from eloss_perception.datasets.bags.folder import is_bag
from eloss_perception.datasets.bags.reader import BagReader
from eloss_perception.datasets.bags.storage import decompress
from eloss_perception.datasets.bags.writer import BagWriter
from eloss_perception.errors import DataError

CLOUD, STRING = "sensor_msgs/msg/PointCloud2", "std_msgs/msg/String"
POINTS, CHATTER = "/points", "/chatter"
START_NS, PERIOD_NS = 10**18, 10**8
NUM_FRAMES = 12
INFO = "rosbag2_bagfile_information"


def cloud(index: int) -> Any:
    points = np.random.default_rng(index).uniform(0.0, 1.0, (300, 4)).astype(np.float32)
    return messages.point_cloud(points, START_NS + index * PERIOD_NS, "lidar")


def serialized(index: int) -> bytes:
    return bytes(messages.TYPESTORE.serialize_cdr(cloud(index), CLOUD))


def write(path: Path, storage: str = "mcap") -> Path:
    with BagWriter(path, storage) as bag:
        bag.add_topic(POINTS, CLOUD)
        bag.add_topic(CHATTER, STRING)
        for index in range(NUM_FRAMES):
            bag.write(POINTS, START_NS + index * PERIOD_NS, cloud(index))
            bag.write(CHATTER, START_NS + index * PERIOD_NS + 1, messages.make(STRING, data="hi"))
    return path


def storage_file(bag: Path) -> Path:
    return next(file for file in bag.iterdir() if file.suffix in (".mcap", ".db3"))


def change_metadata(bag: Path, **changes: Any) -> None:
    path = bag / "metadata.yaml"
    content = yaml.safe_load(path.read_text())
    content[INFO].update(changes)
    path.write_text(yaml.safe_dump(content))


def read(path: Path) -> tuple[Counter[str], list[str], BagReader]:
    """Messages by topic, what was damaged, and the reader with what it says of the bag."""
    damage: list[str] = []
    with BagReader(path) as bag:
        counts = Counter(m.topic for m in bag.messages(on_damage=lambda e: damage.append(str(e))))
        return counts, damage, bag


BOTH = Counter({POINTS: NUM_FRAMES, CHATTER: NUM_FRAMES})
TWO_TOPICS = factory.schema(1, CLOUD) + factory.channel(1, POINTS, 1)


def stamped(num: int) -> list[tuple[int, int, bytes]]:
    return [(1, START_NS + i * PERIOD_NS, serialized(i)) for i in range(num)]


# ------------------------------------------------------------------------------------------ MCAP


@pytest.mark.parametrize("compression", ["", "zstd", "lz4"])
@pytest.mark.parametrize("per_chunk", [0, 1, 3, 100])
@pytest.mark.parametrize("end", ["whole", "no statistics", "no summary", "not closed"])
def test_every_kind_of_mcap_is_read(
    tmp_path: Path, compression: str, per_chunk: int, end: str
) -> None:
    path = tmp_path / "bare.mcap"
    path.write_bytes(
        factory.mcap(
            TWO_TOPICS,
            stamped(7),
            per_chunk=per_chunk,
            compression=compression,
            has_summary=end != "no summary",
            has_statistics=end != "no statistics",
            is_closed=end != "not closed",
        )
    )
    with BagReader(path) as bag:
        assert bag.topics[POINTS].num_messages == 7
        assert (bag.start_ns, bag.end_ns) == (START_NS, START_NS + 6 * PERIOD_NS)
        assert [m.stamp_ns for m in bag.messages()] == [s for _, s, _ in stamped(7)]
        assert [bytes(bag.deserialize(m).data) for m in bag.messages()] == [
            bytes(cloud(i).data) for i in range(7)
        ]
        assert bag.losses == []
        assert len(bag.warnings) == (end == "not closed")


def test_messages_of_overlapping_chunks_come_in_order_of_time(tmp_path: Path) -> None:
    items = stamped(8)
    shuffled = [items[i] for i in (3, 0, 6, 1, 7, 2, 5, 4)]
    for per_chunk in (0, 2, 3):
        path = tmp_path / f"{per_chunk}.mcap"
        path.write_bytes(factory.mcap(TWO_TOPICS, shuffled, per_chunk=per_chunk))
        with BagReader(path) as bag:
            assert [m.stamp_ns for m in bag.messages()] == [stamp for _, stamp, _ in items]


@pytest.mark.parametrize("has_summary", [True, False])
def test_a_chunk_with_a_wrong_checksum_is_named_and_passed_over(
    tmp_path: Path, has_summary: bool
) -> None:
    data = bytearray(factory.mcap(TWO_TOPICS, stamped(9), per_chunk=3, has_summary=has_summary))
    place = bytes(data).index(serialized(4))
    data[place + 200] ^= 0xFF
    path = tmp_path / "x.mcap"
    path.write_bytes(data)
    counts, damage, _ = read(path)
    assert counts[POINTS] == 6
    assert "x.mcap is damaged: chunk at byte " in damage[0]
    assert "checksum" in damage[0]
    with BagReader(path) as bag, pytest.raises(DataError, match="chunk at byte"):
        list(bag.messages())


def test_a_compression_that_is_not_known_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.mcap"
    data = factory.mcap(TWO_TOPICS, stamped(4), compression="zstd")
    path.write_bytes(data.replace(b"\x04\x00\x00\x00zstd", b"\x04\x00\x00\x00gzip"))
    with pytest.raises(DataError, match="'gzip' is not supported"):
        BagReader(path)


def test_what_is_there_of_the_last_chunk_is_served(tmp_path: Path) -> None:
    """A recorder that is killed in its first chunk has recorded all the same."""
    data = factory.mcap(TWO_TOPICS, stamped(9), per_chunk=100)
    path = tmp_path / "cut.mcap"
    path.write_bytes(data[: len(data) // 2])
    counts, damage, bag = read(path)
    assert counts[POINTS] >= 3
    assert damage == []
    assert "in the middle of a record at byte" in bag.losses[0]
    # Blocks of zstd are larger than that.
    data = factory.mcap(TWO_TOPICS, stamped(9), per_chunk=100, compression="zstd")
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"cut.mcap is damaged: chunk at byte \d+: cut off after"):
        BagReader(path)


def test_a_length_beyond_all_reason_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.mcap"
    data = factory.mcap(TWO_TOPICS, stamped(4), is_closed=False)
    path.write_bytes(data + b"\x06" + b"\xff" * 8 + bytes(100))
    counts, _, bag = read(path)
    assert counts[POINTS] == 4
    assert bag.losses
    bomb = zstd.compress(bytes(100_000_000))
    with pytest.raises(DataError, match="more than 1000 bytes"):
        decompress(bomb, limit=1000)


# --------------------------------------------------------------------------------------- sqlite3


def test_a_write_ahead_log_is_read_and_left_alone(tmp_path: Path) -> None:
    source, crash = write(tmp_path / "bag", "sqlite3"), tmp_path / "crash #1?%"
    database = sqlite3.connect(storage_file(source))
    database.execute("pragma journal_mode=wal")
    database.execute("pragma wal_autocheckpoint=0")
    database.execute(
        "insert into messages(topic_id, timestamp, data)"
        " select topic_id, timestamp + 5000000000, data from messages where topic_id = 1"
    )
    database.commit()
    shutil.copytree(source, crash)
    database.close()
    before = {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in crash.iterdir()}
    counts, damage, bag = read(crash)
    assert counts == {POINTS: 2 * NUM_FRAMES, CHATTER: NUM_FRAMES}
    assert damage == []
    assert f"promises {NUM_FRAMES} messages of {POINTS}, the storage holds" in bag.warnings[0]
    assert before == {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in crash.iterdir()}


@pytest.mark.parametrize("share", [0.6, 0.8, 0.97])
def test_of_a_database_that_is_cut_off_the_beginning_is_read(tmp_path: Path, share: float) -> None:
    path = write(tmp_path / "bag", "sqlite3")
    file = storage_file(path)
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    counts, _, bag = read(path)
    assert 0 < counts.total() <= 2 * NUM_FRAMES
    assert "is cut off" in bag.losses[0]
    lost = sum("promises" in text for text in bag.losses)
    assert lost == (counts[POINTS] < NUM_FRAMES) + (counts[CHATTER] < NUM_FRAMES)


def test_rows_that_are_no_messages_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "bag", "sqlite3")
    database = sqlite3.connect(storage_file(path))
    database.execute("update messages set data = 'words' where id = 5")
    database.execute("insert into messages(topic_id, timestamp, data) values (9, 1, x'00')")
    database.commit()
    database.close()
    counts, damage, bag = read(path)
    assert counts.total() == 2 * NUM_FRAMES - 1
    assert "row 5 is damaged" in damage[0]
    assert "1 messages belong to no topic" in bag.losses[0]


# -------------------------------------------------------------------------------------- metadata


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("content", [None, "", "{{{: [\x00", "- 1", f"{INFO}: 5"])
def test_without_usable_metadata_the_files_are_read(
    tmp_path: Path, storage: str, content: str | None
) -> None:
    path = write(tmp_path / "bag", storage)
    (path / "metadata.yaml").unlink()
    if content is not None:
        (path / "metadata.yaml").write_text(content)
    counts, damage, bag = read(path)
    assert (counts, damage, bag.losses) == (BOTH, [], [])
    assert "metadata" in bag.warnings[0]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_profiles_and_storage_of_the_metadata_do_not_decide(tmp_path: Path, storage: str) -> None:
    path = write(tmp_path / "bag", storage)
    content = yaml.safe_load((path / "metadata.yaml").read_text())
    for entry in content[INFO]["topics_with_message_count"]:
        entry["topic_metadata"]["offered_qos_profiles"] = ""
        entry["topic_metadata"]["type_description_hash"] = "RIHS01_other"
    content[INFO]["storage_identifier"] = ""
    (path / "metadata.yaml").write_text(yaml.safe_dump(content))
    counts, damage, bag = read(path)
    assert (counts, damage, bag.losses, bag.warnings) == (BOTH, [], [], [])


def test_counts_are_compared_by_topic(tmp_path: Path) -> None:
    path = write(tmp_path / "bag")
    content = yaml.safe_load((path / "metadata.yaml").read_text())
    first, second = content[INFO]["topics_with_message_count"]
    first["message_count"], second["message_count"] = NUM_FRAMES + 3, NUM_FRAMES - 2
    (path / "metadata.yaml").write_text(yaml.safe_dump(content))
    _, _, bag = read(path)
    assert f"{NUM_FRAMES + 3} messages of {POINTS}, the storage holds {NUM_FRAMES}" in bag.losses[0]
    assert any(f"{NUM_FRAMES - 2} messages of {CHATTER}" in text for text in bag.warnings)
    assert any("in all" in text for text in bag.warnings)


def test_split_bags_with_a_file_missing_or_not_named(tmp_path: Path) -> None:
    path = write(tmp_path / "bag")
    shutil.copy(storage_file(path), path / "more.mcap")
    change_metadata(path, relative_file_paths=["bag.mcap", "elsewhere/bag_1.mcap"])
    counts, _, bag = read(path)
    assert counts == BOTH
    assert "bag_1.mcap is missing" in bag.losses[0]
    assert "more.mcap is left out" in bag.warnings[0]
    change_metadata(path, relative_file_paths=["bag_1.mcap"])
    with pytest.raises(DataError, match=r"bag_1\.mcap is missing"):
        BagReader(path)
    change_metadata(path, relative_file_paths=[])
    assert read(path)[0].total() == 2 * BOTH.total()


def test_storage_files_without_metadata_are_in_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        item = (1, START_NS + number, serialized(number))
        (tmp_path / f"b_{number}.mcap").write_bytes(factory.mcap(TWO_TOPICS, [item]))
    with BagReader(tmp_path) as bag:
        assert [m.stamp_ns - START_NS for m in bag.messages()] == [1, 2, 10]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("kind", ["zstd", "lz4"])
def test_compressed_files(tmp_path: Path, storage: str, kind: str) -> None:
    path = write(tmp_path / "bag", storage)
    file = storage_file(path)
    packed = (zstd.compress if kind == "zstd" else lz4.frame.compress)(file.read_bytes())
    target = file.with_name(f"{file.name}.{kind}")
    target.write_bytes(packed)
    file.unlink()
    mode = {"compression_mode": "FILE", "compression_format": kind}
    change_metadata(path, relative_file_paths=[target.name], **mode)
    counts, damage, bag = read(path)
    assert (counts, damage, bag.losses, bag.warnings) == (BOTH, [], [], [])
    assert is_bag(target)
    assert read(target)[0] == BOTH
    target.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match="compressed data end early"):
        BagReader(path)
    change_metadata(path, compression_format="fake_comp")
    with pytest.raises(DataError, match="'fake_comp' is not supported"):
        BagReader(path)


@pytest.mark.parametrize("kind", ["zstd", "lz4"])
def test_compressed_messages(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "bag", "sqlite3")
    database = sqlite3.connect(storage_file(path))
    for number, data in database.execute("select id, data from messages").fetchall():
        packed = (zstd.compress if kind == "zstd" else lz4.frame.compress)(data)
        packed = packed[:30] if number == 5 else packed
        database.execute("update messages set data = ? where id = ?", (packed, number))
    database.commit()
    database.close()
    change_metadata(path, compression_mode="MESSAGE", compression_format=kind)
    counts, damage, _ = read(path)
    assert counts.total() == 2 * NUM_FRAMES - 1
    assert "row 5 is damaged: the compressed data are cut off" in damage[0]
    with BagReader(path) as bag:
        first = next(bag.messages([POINTS]))
        assert bytes(bag.deserialize(first).data) == bytes(cloud(0).data)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "it is empty"),
        (b"#ROSBAG V2.0\n", "ROS 1 bag"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"RIFF1234", "begins with b'RIFF1234'"),
        (b"\x89MCAP0\r\n", ""),
        (b"SQLite format 3\x00", "no readable rosbag2"),
        (b"\x28\xb5\x2f\xfd", "compressed data end early"),
    ],
)
def test_what_is_no_storage_is_called_what_it_is(
    tmp_path: Path, content: bytes, named: str
) -> None:
    path = tmp_path / "bag_0.db3"
    path.write_bytes(content)
    if not named:
        assert read(path)[0] == Counter()
        return
    with pytest.raises(DataError, match=named):
        BagReader(path)


# ----------------------------------------------------------------------------------------- types


def test_foreign_encodings_and_types_are_left_out_by_name(tmp_path: Path) -> None:
    head = (
        TWO_TOPICS
        + factory.schema(2, "foxglove.PointCloud", "{}", "jsonschema")
        + factory.channel(2, "/json", 2, "json")
        + factory.schema(3, "sensor_msgs/PointCloud2", "", "ros1msg")
        + factory.channel(3, "/ros1", 3, "ros1")
        + factory.channel(4, "/nothing", 77, "protobuf")
        + factory.channel(5, POINTS, 6)
        + factory.schema(6, "std_msgs/msg/String")
        + factory.channel(5, POINTS, 6)
        + factory.schema(7, "x:\n import os\nclass y")
        + factory.channel(7, "/code", 7)
        + factory.schema(8, "std_msgs/String")
        + factory.channel(8, "/old", 8)
    )
    items = [*stamped(5), *((n, START_NS, b"\x00\x01\x00\x00") for n in (2, 3, 4, 5, 7))]
    path = tmp_path / "x.mcap"
    path.write_bytes(factory.mcap(head, items))
    counts, damage, bag = read(path)
    assert (counts, damage) == ({POINTS: 5}, [])
    for words in (
        "/json (foxglove.PointCloud) is left out: its encoding is 'json'",
        "/ros1 (sensor_msgs/msg/PointCloud2) is left out: its encoding is 'ros1'",
        "/nothing (no type) is left out",
        f"{POINTS} (std_msgs/msg/String) is left out: it is of {CLOUD} elsewhere",
        "/code (x:\\n import os\\nclass y) is left out: that is no name of a type",
    ):
        assert sum(words in text for text in bag.warnings) == 1
    assert bag.topics["/old"].message_type == STRING


def test_types_that_nobody_can_make_out_spare_the_others(tmp_path: Path) -> None:
    head = (
        TWO_TOPICS
        + factory.schema(2, "a_msgs/srv/Add_Event", "int64 a\nint64 b\n---\nint64 sum\n")
        + factory.channel(2, "/srv/_service_event", 2)
        + factory.schema(3, "b_msgs/msg/Half", "c_msgs/Missing inner\n")
        + factory.channel(3, "/half", 3)
        + factory.schema(4, "d_msgs/msg/None")
        + factory.channel(4, "/none", 4)
        + factory.schema(5, "e_msgs/msg/Own", "std_msgs/Header header\nuint8 level\n")
        + factory.channel(5, "/own", 5)
    )
    items = [*stamped(3), *((n, START_NS, bytes(8)) for n in (2, 3, 4, 5))]
    path = tmp_path / "x.mcap"
    path.write_bytes(factory.mcap(head, items))
    counts, damage, bag = read(path)
    assert (counts.total(), damage) == (7, [])
    known = bag.typestore.fielddefs
    assert "e_msgs/msg/Own" in known
    assert not {"a_msgs/srv/Add_Event", "b_msgs/msg/Half", "d_msgs/msg/None"} & known.keys()
    with BagReader(path) as again:
        raw = next(again.messages(["/none"]))
        with pytest.raises(DataError, match="no definition of d_msgs/msg/None"):
            again.deserialize(raw)


def test_a_type_is_what_the_bag_says_it_is(tmp_path: Path) -> None:
    head = factory.schema(1, STRING, "uint16 number\n") + factory.channel(1, CHATTER, 1)
    path = tmp_path / "x.mcap"
    path.write_bytes(factory.mcap(head, [(1, 5, b"\x00\x01\x00\x00\x07\x01")]))
    with BagReader(path) as bag:
        assert bag.deserialize(next(bag.messages())).number == 263
    assert messages.make(STRING, data="x").data == "x"


# ---------------------------------------------------------------------------------------- anything


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_whatever_happens_to_a_file_is_a_loss_or_a_data_error(tmp_path: Path, storage: str) -> None:
    """Cut anywhere, garbage anywhere: one kind of error, and what is read was written."""
    path = write(tmp_path / "bag", storage)
    file = storage_file(path)
    whole = file.read_bytes()
    written = {serialized(i) for i in range(NUM_FRAMES)}
    rng = np.random.default_rng(3)
    for trial in range(120):
        data = bytearray(whole)
        if trial % 3 == 0:
            data = data[: rng.integers(0, len(whole))]
        elif trial % 3 == 1:
            at = int(rng.integers(0, len(whole)))
            data[at : at + 50] = rng.integers(0, 256, 50, np.uint8).tobytes()
        else:
            data[int(rng.integers(0, 400 if trial % 2 else len(whole)))] ^= int(
                rng.integers(1, 256)
            )
        file.write_bytes(data)
        said = 0
        intact = 0
        try:
            with BagReader(path) as bag:
                problems: list[DataError] = []
                for raw in bag.messages(on_damage=problems.append):
                    intact += raw.data in written or raw.topic == CHATTER
                    try:
                        bag.deserialize(raw)
                    except DataError:
                        said += 1
                said += len(problems) + len(bag.losses) + len(bag.warnings)
        except DataError as error:
            said += 1 + str(error).count("\n")
        if trial % 3 == 0:
            assert said, f"trial {trial}: a file cut off, and not a word"
        assert intact <= 2 * NUM_FRAMES
