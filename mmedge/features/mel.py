"""Every constant of a log-mel or MFCC front end; plain data, stored in the manifest."""

from dataclasses import dataclass
from math import inf
from typing import Literal, get_args

from mmedge.errors import SpecError
from mmedge.features.checks import one_of, positive

__all__ = ["Convention", "MelSettings"]

Convention = Literal["torchaudio", "librosa", "kaldi", "htk", "whisper", "python_speech_features"]
WindowName = Literal["hann", "hann_symmetric", "hamming", "povey", "rectangular"]
Triangles = Literal["hz", "mel", "htk", "bins"]
Log = Literal["ln", "log10", "db", "whisper"]
Energy = Literal["none", "frame", "spectrum"]

MAX_N_FFT = 1 << 20  # bounds what a damaged manifest can make the tables weigh
MAX_MELS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class MelSettings:
    """Every constant of a log-mel or MFCC front end; :func:`mel_settings` fills in a named convention.

    Attributes:
        convention: Whose definition the constants follow.
        rate_hz: Samples per second.
        frame_length: Samples under the window function.
        hop_length: Samples from one frame to the next.
        n_fft: Length of the Fourier transform, even; frames are zero-padded to it.
        fft_padding: Where these zeros go: "end", or "both" ends of the frame, which then spans n_fft samples.
        window: "hann" (periodic), "hann_symmetric", "hamming" (symmetric), "povey" (hann_symmetric ** 0.85) or
            "rectangular".
        center: Frame t is centred on sample t * hop_length; the window's ends are padded.
        pad_mode: "reflect" or "constant" (zeros), for center.
        last_frame: "whole" frames only, "padded" with zeros when samples are left over, or "dropped" even though whole.
        preemphasis: Coefficient k of x[n] - k * x[n - 1], 0 for none.
        preemphasis_over: "frame", where the first sample becomes (1 - k) * x[0], or the whole "window", where it stays.
        remove_dc: Subtract the mean of each frame first.
        sample_scale: Samples in -1..1 are multiplied by this first (32768 for int16 conventions).
        power: 1 for magnitude, 2 for power.
        divide_by_n_fft: Divide the power by n_fft.
        mels: Number of filters.
        mel_scale: "htk", 2595 log10(1 + f / 700), the same as Kaldi's 1127 ln(1 + f / 700); or "slaney".
        triangles: Filters linear in "hz"; in "mel"; in mel with HTK's rounding of the outer ends to bins ("htk"); or
            linear between corners rounded down to "bins".
        mel_norm: "none", or "slaney" for triangles of unit area.
        low_hz: Lower end of the filters.
        high_hz: Upper end of the filters.
        log: "ln", "log10", "db" (10 log10) or "whisper", (log10 + 4) / 4.
        floor: Energies below are raised to it before the logarithm.
        floor_mode: "max" raises to the floor, "add" adds it.
        top_db: Values further below the window's maximum are raised to there, 0 for off.
        coefficients: Cepstral coefficients, 0 for log-mel.
        dct: Type II scaled "ortho", or as "htk" does it: every row by sqrt(2 / mels), coefficient 0 moved to the end.
        lifter: Cepstral lifter L of 1 + L / 2 * sin(pi * n / L), 0 for none.
        energy: What replaces coefficient 0: "none", or the natural log energy of the "frame" (before pre-emphasis and
            window) or of its "spectrum".

    Raises:
        SpecError: A value does not fit, or no toolkit defines the combination.
    """

    convention: Convention
    rate_hz: int
    frame_length: int
    hop_length: int
    n_fft: int
    fft_padding: Literal["end", "both"] = "end"
    window: WindowName = "hann"
    center: bool = False
    pad_mode: Literal["reflect", "constant"] = "reflect"
    last_frame: Literal["whole", "padded", "dropped"] = "whole"
    preemphasis: float = 0.0
    preemphasis_over: Literal["frame", "window"] = "frame"
    remove_dc: bool = False
    sample_scale: float = 1.0
    power: float = 2.0
    divide_by_n_fft: bool = False
    mels: int = 80
    mel_scale: Literal["htk", "slaney"] = "htk"
    triangles: Triangles = "hz"
    mel_norm: Literal["none", "slaney"] = "none"
    low_hz: float = 0.0
    high_hz: float = 8000.0
    log: Log = "ln"
    floor: float = 1e-6
    floor_mode: Literal["max", "add"] = "max"
    top_db: float = 0.0
    coefficients: int = 0
    dct: Literal["ortho", "htk"] = "ortho"
    lifter: int = 0
    energy: Energy = "none"

    def __post_init__(self) -> None:
        self._check_values()
        self._check_combinations()

    def _check_values(self) -> None:
        one_of("convention", self.convention, get_args(Convention))
        one_of("window", self.window, get_args(WindowName))
        one_of("triangles", self.triangles, get_args(Triangles))
        one_of("log", self.log, get_args(Log))
        one_of("energy", self.energy, get_args(Energy))
        positive("rate_hz, frame_length, hop_length", self.rate_hz, self.frame_length, self.hop_length)
        positive("n_fft, mels, floor, sample_scale", self.n_fft, self.mels, self.floor, self.sample_scale)
        if self.n_fft % 2 or self.n_fft > MAX_N_FFT:
            raise SpecError(f"n_fft = {self.n_fft} is not an even number up to {MAX_N_FFT}")
        if self.frame_length > self.n_fft:
            raise SpecError(f"frame_length = {self.frame_length} is longer than n_fft = {self.n_fft}; raise n_fft")
        if self.mels > MAX_MELS:
            raise SpecError(f"mels = {self.mels} is more than {MAX_MELS}")
        if not 0 <= self.low_hz < self.high_hz <= self.rate_hz / 2:
            raise SpecError(f"filters from {self.low_hz} to {self.high_hz} Hz do not fit {self.rate_hz} Hz sound")
        if self.power not in {1, 2}:
            raise SpecError(f"power = {self.power} is not 1 (magnitude) or 2 (power)")
        if not 0 <= self.preemphasis < 1:
            raise SpecError(f"preemphasis = {self.preemphasis} is not in 0..1")
        if not 0 <= self.coefficients <= self.mels:
            raise SpecError(f"coefficients = {self.coefficients} do not fit {self.mels} mel filters")
        if not 0 <= self.top_db < inf or self.lifter < 0:
            raise SpecError(f"top_db = {self.top_db} or lifter = {self.lifter} is negative or not finite")

    def _check_combinations(self) -> None:
        cepstral = (("dct", "ortho"), ("lifter", 0), ("energy", "none"))
        if not self.coefficients and (given := [name for name, off in cepstral if getattr(self, name) != off]):
            raise SpecError(f"{given[0]} belongs to MFCC; set coefficients too, e.g. coefficients = 13")
        undefined = {
            "triangles that are not linear in hz, on another scale or with a norm": self.triangles != "hz"
            and (self.mel_scale, self.mel_norm) != ("htk", "none"),
            "a padded last frame with center, remove_dc or pre-emphasis per frame": self.last_frame == "padded"
            and (self.center or self.remove_dc or (self.preemphasis > 0 and self.preemphasis_over == "frame")),
            "pre-emphasis over the window with center or remove_dc": self.preemphasis > 0
            and self.preemphasis_over == "window"
            and (self.center or self.remove_dc),
            "top_db with energy": self.top_db > 0 and self.energy != "none",
            "MFCC of whisper's logarithm": self.coefficients > 0 and self.log == "whisper",
            "librosa's lifter, which is shifted by one coefficient": self.lifter > 0 and self.convention == "librosa",
        }
        if refused := [what for what, found in undefined.items() if found]:
            raise SpecError(f"{self.convention}: {refused[0]} is not supported")

    @property
    def values(self) -> int:
        """Values per frame: mel bins, or cepstral coefficients."""
        return self.coefficients or self.mels

    @property
    def span(self) -> int:
        """Samples from the first to the last one that a frame is made of."""
        return self.n_fft if self.fft_padding == "both" else self.frame_length

    @property
    def padding(self) -> int:
        """Samples put before and after the window, for center."""
        return self.span // 2 if self.center else 0

    def frames_in(self, samples: int) -> int:
        """How many frames the front end makes of so many samples."""
        if samples <= 0:
            return 0
        left_over = samples + 2 * self.padding - self.span
        if self.last_frame == "padded":
            return 1 + max(0, -(-left_over // self.hop_length))
        return max(0, 1 + left_over // self.hop_length - (self.last_frame == "dropped"))
