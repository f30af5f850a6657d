"""Whatever the public calls are given that does not fit is refused in one line; the list is meant to be complete.

Each row is a call, what it is given, and words of its refusal. NaN pushed to a live stream is counted instead, see
test_live.py.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from duo import Duo

import mmedge
from mmedge import AudioChunk, ClosedError, InputError, MmedgeError, Model, TextMessage, VideoFrame
from mmedge.running import open_run
from mmedge.sources import Arrivals, TapeReader, TapeWriter, Track, from_packets, open_source

PICTURE = np.zeros((24, 32, 3), np.uint8)
SOUND = np.zeros(160, np.float32)
SCAN = np.zeros(3, np.float32)
WINDOWS = {"image": np.zeros((8, 24, 32, 3), np.uint8), "audio": np.zeros(16000, np.float32)}
NAN, INFINITY = float("nan"), float("inf")
SCENE = "synthetic://?seconds=1"


@dataclass(frozen=True)
class Given:
    """What calls are made on: a bundle, a model, a closed one, and a model with a tensor port."""

    bundle: Path
    model: Model
    closed: Model
    duo: Duo
    folder: Path
    streams: list[mmedge.Stream] = field(default_factory=list)

    def stream(self, *arguments: object, **options: object) -> mmedge.Stream:
        """A stream of the model, which is closed in the end."""
        self.streams.append(self.model.stream(*arguments, **options))
        return self.streams[-1]


Call = Callable[[Given], object]
Row = tuple[str, Call, str]


def no_pictures() -> Iterator[tuple[object, str]]:
    for other in ("text", None, [[1]], 3, np.uint8(3)):
        yield other, f"not {type(other).__name__}"
    for dtype in (np.float32, np.float64, np.int8, bool):
        yield PICTURE.astype(dtype), f"not .*24, 32, 3. {np.dtype(dtype)}"
    yield PICTURE[..., 0], r"\[H, W, 3\] uint8 RGB, not \[24, 32\]"
    yield np.zeros((24, 32, 4), np.uint8), r"not \[24, 32, 4\]"
    yield PICTURE.transpose(2, 0, 1), r"not \[3, 24, 32\]"
    yield PICTURE[None], r"not \[1, 24, 32, 3\]"


def no_sounds() -> Iterator[tuple[object, str]]:
    for other in ("text", None, [1.0], 3, b"bytes", np.float32(1)):
        yield other, f"not {type(other).__name__}"
    for dtype in (np.float64, np.int16, bool, np.complex64):
        yield SOUND.astype(dtype), rf"not \[160\] {np.dtype(dtype)}"
    yield SOUND[None], r"not \[1, 160\]"


def frame(*, live: bool, pixels: object = PICTURE, t_ns: object = 0, port: object = None) -> Call:
    return lambda g: g.stream("audio", live=live).push_frame(pixels, t_ns, port=port)


def audio(*, live: bool, samples: object = SOUND, t_ns: object = 0) -> Call:
    return lambda g: g.stream("audio", live=live).push_audio(samples, t_ns)


def tensor(*, live: bool, values: object = SCAN, t_ns: object = 0) -> Call:
    return lambda g: g.duo.stream(live=live).push_tensor(values, t_ns)


def data() -> Iterator[Row]:
    for live in (False, True):
        for given, words in no_pictures():
            yield "push_frame", frame(live=live, pixels=given), words
        yield "push_frame", frame(live=live, pixels=PICTURE[:0]), "image: a picture of .0, 32, 3. has no pixels"
        for given, words in no_sounds():
            yield "push_audio", audio(live=live, samples=given), words
        for given in ("text", None, [1.0], 3):
            yield "push_tensor", tensor(live=live, values=given), f"lidar: .* a numpy array .* not {_kind(given)}"
        for given in (np.zeros(3), np.zeros(4, np.float32), SCAN[None]):
            yield "push_tensor", tensor(live=live, values=given), r"lidar: the tensor is \[3\] float32, not \["
    for value in (NAN, INFINITY):
        yield "push_audio", audio(live=False, samples=np.full(160, value, np.float32)), "audio: NaN or infinity"
        yield "push_tensor", tensor(live=False, values=np.full(3, value, np.float32)), "lidar: NaN or infinity"


def times() -> Iterator[Row]:
    for live in (False, True):
        for t_ns in ("now", None, 1.5, np.float64(3), NAN, True, 2**70, np.zeros(2, int)):
            for push in (frame, audio, tensor):
                yield "push t_ns", push(live=live, t_ns=t_ns), "t_ns is .*; expected whole nanoseconds"


def ports() -> Iterator[Row]:
    for live in (False, True):
        for port in ("lidar", "audio", 3, ""):
            yield "push_frame port", frame(live=live, port=port), f"needs the port {port!r}; the model has image"
        yield "push_text", lambda g, live=live: g.stream(live=live).push_text("go", 0), "no text port"
        yield "push_tensor", lambda g, live=live: g.stream(live=live).push_tensor(SCAN, 0), "no tensor port"
        for packet in (None, "text", (PICTURE, 0), PICTURE):
            call = lambda g, live=live, packet=packet: g.stream(live=live).push(packet)  # noqa: E731
            yield "push", call, f"takes a packet .*, not {_kind(packet)}"
        chunk = AudioChunk(samples=SOUND, t_ns=0, rate_hz=44100)
        yield "push", lambda g, live=live, c=chunk: g.stream(live=live).push(c), "sound at 44100 Hz, expected 16000 Hz"
        yield "attribute_next", lambda g, live=live: g.stream(live=live).attribute_next(), "without attribution"


def packets() -> Iterator[Row]:
    for rate_hz in (0, -1, "16000", 16000.5, NAN, None, True):
        call = lambda _, rate_hz=rate_hz: AudioChunk(samples=SOUND, t_ns=0, rate_hz=rate_hz)  # noqa: E731
        yield "AudioChunk rate_hz", call, "rate_hz of an audio chunk is .*; expected a whole number from 1 on"
    for text in (None, b"go", 3):
        yield "TextMessage", lambda _, text=text: TextMessage(text=text, t_ns=0), "a text is a string"
    yield "VideoFrame", lambda _: VideoFrame(pixels=PICTURE, t_ns=1.0), "t_ns is 1.0"


def inferences() -> Iterator[Row]:
    def infer(**sensors: object) -> Call:
        return lambda g: g.model.infer(**{**WINDOWS, **sensors})

    for other in ("text", None, [1.0], 3, b"bytes"):
        yield "infer", infer(image=other), f"image: expected an array, not {_kind(other)}"
        yield "infer", infer(audio=other), f"audio: expected an array, not {_kind(other)}"
    for dtype in (np.float32, bool, np.int8):
        yield "infer", infer(image=WINDOWS["image"].astype(dtype)), "image: a picture is .* uint8 RGB"
    for dtype in (np.float64, np.int16, bool):
        yield "infer", infer(audio=WINDOWS["audio"].astype(dtype)), "audio: samples are .* float32"
    yield "infer", infer(image=WINDOWS["image"][:3]), "image: a window has 8 picture.s., not 3"
    yield "infer", infer(image=WINDOWS["image"][:, :0]), "image: a picture is"
    yield "infer", infer(audio=SOUND), "audio: a window has 16000 samples, not 160"
    yield "infer", infer(audio=WINDOWS["audio"][None]), "audio: samples are"
    for value in (NAN, INFINITY):
        yield "infer", infer(audio=np.full(16000, value, np.float32)), "audio: NaN or infinity"
    yield "infer", infer(lidar=SCAN), "infer.. was given image, audio, lidar; expected image, audio"
    yield "infer", lambda g: g.model.infer(), "infer.. was given nothing"


def options() -> Iterator[Row]:
    def stream(**given: object) -> Call:
        return lambda g: g.model.stream(**given)

    for tick in ("lidar", "0hz", "5000hz", "", 50, b"audio", True, "tensor", "nanhz"):
        yield "stream tick", stream(tick=tick), "tick = "
    for limit in (0, -1, "soon", NAN, True, [3]):
        yield "stream max_age_ms", stream(max_age_ms=limit), "max_age_ms of image is .*; expected milliseconds above 0"
        yield "stream max_age_ms", stream(max_age_ms={"audio": limit}), "max_age_ms of audio is"
    yield "stream max_age_ms", stream(max_age_ms={"lidar": 3}), "names 'lidar'; the model has image, audio"
    for deadline in (0, -1, "soon", NAN, INFINITY, True):
        yield "stream deadline_ms", stream(live=True, deadline_ms=deadline), "deadline_ms is .*; expected milliseconds"
    yield "stream deadline_ms", stream(deadline_ms=3), "deadline_ms needs a live stream"
    yield "stream policies", stream(policies={"lidar": ["hold"]}), "policies name 'lidar'; the model has image, audio"
    yield (
        "stream policies",
        stream(policies={"image": ["pray"]}),
        "'pray'; expected some of hold, reweight, mean, abstain",
    )
    for steps in ("hold", None, 3):
        yield "stream policies", stream(policies={"image": steps}), "expected a list such as"
        if steps is not None:
            yield "stream policies", stream(policies=steps), "expected steps by port"
    yield "stream policies", stream(policies={"image": ["reweight"]}), "has no gates"
    for weights in ({"audio": 0.5}, {"lidar": 1}, None, 0.5, "audio"):
        yield "reweight", lambda g, given=weights: g.stream("audio").reweight(given), "no gates|expected"
        yield "infer", lambda g, given=weights: g.model.infer(**WINDOWS, weights=given), "no gates|expected"
    for every in (-1, 1.5, "x", True):
        yield "stream attribution", stream(attribution=every), "attribution is .*; expected every how many decisions"
    yield "stream clock", stream(live=True, tick="50hz", clock=3), "clock is 3; expected a function"


def bundles() -> Iterator[Row]:
    def load(**given: object) -> Call:
        return lambda g: mmedge.load(g.bundle, **given)

    for threads in (0, -1, "2", 1.5, True, None):
        yield "load threads", load(threads=threads), "threads is .*; expected a whole number from 1 on"
    for name in ("backend", "variant", "require"):
        yield f"load {name}", load(**{name: 3}), f"{name} is 3; expected a name"
    yield "load backend", load(backend="abacus"), "'abacus' is not known; expected auto, tensorrt"
    yield "load variant", load(variant="int3"), "no variant 'int3'; expected fp32"
    yield "load require", load(require="abacus"), "'abacus' fits none of"
    for path in (3, None, b"siren.mmedge"):
        yield "load path", lambda _, path=path: mmedge.load(path), "given by its path, not by"
    yield "load path", lambda g: mmedge.load(g.folder / "none"), "does not exist; expected a bundle"


def runs() -> Iterator[Row]:
    def run(**given: object) -> Call:
        return lambda g: list(mmedge.run(g.bundle, **given))

    yield "run", run(), "give camera, e.g. clip.mp4"
    yield "run camera", run(camera=3, audio=SCENE), "camera is a int; expected a path, a URI or an iterable"
    yield "run camera", run(camera="none.mp4"), "none.mp4 does not exist"
    yield "run camera", run(camera="smell://1", audio=SCENE), "the scheme smell is not known"
    yield "run camera", run(camera=[(PICTURE[..., 0], 0)], audio=SCENE), "H, W, 3"
    yield "run camera", run(camera=[PICTURE], audio=SCENE), "expected VideoFrame, or pairs of an array and t_ns"
    yield "run audio", run(camera=SCENE, audio=3), "audio is a int"
    yield "run audio", run(camera=SCENE, audio=[(SOUND, 1.5)]), "t_ns is 1.5"
    yield "run audio", run(camera=SCENE, audio=[AudioChunk(samples=SOUND, t_ns=0, rate_hz=8000)]), "sound at 8000 Hz"
    yield "run tick", run(camera=SCENE, tick="noon"), "tick = 'noon' is not known"
    yield "run recording", run(recording=3), "given by its folder"
    yield "run recording", run(recording="none"), "none is no recording"
    yield "run record", run(camera=SCENE, record="new"), "a recording already"
    yield "run sync", run(camera=SCENE, sync="none.json"), "none.json does not exist; make it"


def opened_sources() -> Iterator[Row]:
    for modality in (3, None, "smell"):
        yield (
            "open_source",
            lambda _, m=modality: open_source(SCENE, m),
            "modality is .*; expected one of",
        )
    for number in (-1, 1.5, "x", NAN, True):
        yield "open_source", lambda _, n=number: open_source(SCENE, "audio", rate_hz=n), "rate_hz is"
        yield "open_source", lambda _, n=number: open_source(SCENE, "audio", chunk_ms=n), "chunk_ms is"
    yield "from_packets", lambda _: list(from_packets([(SOUND, 0)], "audio")), "expected AudioChunk, or pairs"
    yield "from_packets", lambda _: list(from_packets([([1, 2], 0)], "camera")), "expected VideoFrame, or pairs"
    yield "Arrivals", lambda _: Arrivals({}), "no live source was given"


def swaps() -> Iterator[Row]:
    for live in (False, True):
        opened = lambda g, live=live: g.stream("audio", live=live)  # noqa: E731
        yield "Swap", lambda g, opened=opened: mmedge.Swap(opened(g), "new.mmedge"), "a loaded model, not str"
    yield "Swap", lambda g: mmedge.Swap(g.model, g.model), "begins on a stream"
    yield "Swap", lambda g: mmedge.Swap(g.stream("any", live=True), g.model), "no times of their own"


def after_close() -> Iterator[Row]:
    def closed_stream(g: Given, *, live: bool) -> mmedge.Stream:
        opened = g.stream("audio", live=live)
        opened.close()
        return opened

    for live in (False, True):
        opened = lambda g, live=live: closed_stream(g, live=live)  # noqa: E731
        yield "push_frame", lambda g, opened=opened: opened(g).push_frame(PICTURE, 0), "the stream was closed"
        yield "push_audio", lambda g, opened=opened: opened(g).push_audio(SOUND, 0), "the stream was closed"
        yield "reweight", lambda g, opened=opened: opened(g).reweight({"audio": 0.5}), "the stream was closed"
        chunk = AudioChunk(samples=SOUND, t_ns=0, rate_hz=16000)
        yield "push", lambda g, opened=opened, chunk=chunk: opened(g).push(chunk), "the stream was closed"
        yield "Swap", lambda g, opened=opened: mmedge.Swap(opened(g), g.model), "the stream was closed"
        open_still = lambda g, live=live: g.stream("audio", live=live)  # noqa: E731
        yield "Swap", lambda g, o=open_still: mmedge.Swap(o(g), g.closed), "was closed; load the bundle again"
        yield "switch", lambda g, o=open_still: _closed(mmedge.Swap(o(g), g.model)).switch(), "the swap is over"
    yield "infer", lambda g: g.closed.infer(**WINDOWS), "was closed; load the bundle again"
    yield "stream", lambda g: g.closed.stream(), "was closed; load the bundle again"
    yield "new_graph", lambda g: g.closed.new_graph(), "was closed; load the bundle again"
    for modality in ("camera", "audio"):
        yield "source", lambda _, m=modality: next(iter(_closed(open_source(SCENE, m)))), "is closed"
    yield "packets", lambda _: next(iter(_closed(from_packets([(PICTURE, 0)], "camera")))), "is closed"
    yield "run", lambda g: next(iter(_closed(open_run(g.model, camera=SCENE)))), "is closed"
    yield "write", lambda g: _tape(g).write("audio", AudioChunk(samples=SOUND, t_ns=0, rate_hz=1)), "is closed"
    yield "read", lambda g: next(_closed(TapeReader(_tape(g, "read").folder))), "is closed"


def _kind(value: object) -> str:
    return type(value).__name__


def _closed(opened):
    opened.close()
    return opened


def _tape(given: Given, name: str = "tape") -> TapeWriter:
    return _closed(TapeWriter(given.folder / name, {"audio": Track(modality="audio", source="ear")}))


WRONG = (data, times, ports, packets, inferences, options, bundles, runs, opened_sources, swaps)


@pytest.fixture(scope="module")
def closed_model(reference_bundle):
    return _closed(mmedge.load(reference_bundle))


@pytest.fixture
def given(reference_bundle, model, closed_model, duo, tmp_path, monkeypatch):
    pytest.importorskip("cv2")
    monkeypatch.chdir(tmp_path)
    made = Given(bundle=reference_bundle, model=model, closed=closed_model, duo=duo, folder=tmp_path)
    yield made
    for stream in made.streams:
        stream.close()


def _refused(rows: Iterator[Row], given: Given, kind: type[MmedgeError]) -> list[str]:
    """What was not refused as it should be, one line each."""
    return [told for row in rows if (told := _judged(row, given, kind))]


def _judged(row: Row, given: Given, kind: type[MmedgeError]) -> str:
    name, call, words = row
    try:
        call(given)
    except kind as error:
        fits = "\n" not in str(error) and re.search(words, str(error))
        return "" if fits else f"{name}: {words!r} is not in {str(error)!r}"
    except Exception as error:  # noqa: BLE001 - told by the caller
        return f"{name}: {type(error).__name__} instead: {error}"
    return f"{name}: taken, expected {words!r}"


@pytest.mark.parametrize("rows", WRONG, ids=lambda rows: rows.__name__)
def test_what_does_not_fit_is_refused_in_one_line(given, rows):
    kind = MmedgeError if rows in {bundles, runs} else InputError
    assert _refused(rows(), given, kind) == []


def test_what_is_used_after_close_says_so(given):
    assert _refused(after_close(), given, ClosedError) == []


def test_every_public_call_of_the_package_is_in_the_table():
    named = {name.split()[0] for rows in (*WRONG, after_close) for name, _, _ in rows()}
    methods = {name for kind in (mmedge.Model, mmedge.Stream) for name, value in vars(kind).items() if callable(value)}
    harmless = {"close", "poll", "metrics", "read_baseline", "stream_like"}  # nothing can be given to them but a stream
    assert {name for name in methods if not name.startswith("_")} - harmless <= named
    data = {"Prediction", "TensorReading", "Model", "Stream"}  # made by mmedge, or judged where they are pushed
    public = {name for name in mmedge.__all__ if not name.endswith("Error")} - data
    assert public <= named
