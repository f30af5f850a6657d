"""``python -m mmedge_export.reference.digits --recordings fsdd.zip -o digits.safetensors``."""

from pathlib import Path

import click
import numpy as np

from mmedge.errors import MmedgeError
from mmedge_export.checkpoint import save_checkpoint
from mmedge_export.reference.digits.evaluate import report
from mmedge_export.reference.digits.scenes import clips, read_scenes
from mmedge_export.reference.digits.train import Recipe, spec_text, train

__all__ = ["main"]

DEFAULT = Recipe()


@click.command()
@click.option(
    "--recordings", type=click.Path(path_type=Path), required=True, help="Archive of the Free Spoken Digit Dataset."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The checkpoint to write.")
@click.option("--clips", "samples", type=click.Path(path_type=Path), help="Also write the held-out scenes, as .npz.")
@click.option("--epochs", default=DEFAULT.epochs, show_default=True, help="How often each recording is heard.")
@click.option("--seed", default=DEFAULT.seed, show_default=True, help="Of scenes, weights and augmentation.")
@click.option("--threads", default=DEFAULT.threads, show_default=True, help="CPU threads.")
def main(recordings: Path, output: Path, samples: Path | None, epochs: int, seed: int, threads: int) -> None:
    """Train the digits network, print what each sensor is worth, write its checkpoint with the spec inside."""
    for path in filter(None, (output, samples)):
        if not path.parent.is_dir():
            raise click.ClickException(f"{path.parent} is not a folder; make it first")
    try:
        training, held_out = read_scenes(recordings, seed=seed)
    except MmedgeError as error:
        raise click.ClickException(str(error)) from error
    network = train(training, Recipe(epochs=epochs, seed=seed, threads=threads), click.echo)
    click.echo("\n".join(["", *report(network, held_out), ""]))
    save_checkpoint(output, network, spec_text())
    click.echo(f"{output} written")
    if samples:
        with samples.open("wb") as file:
            np.savez(file, allow_pickle=False, **clips(held_out))
        click.echo(f"{samples} written; next: mmedge export {output} --samples {samples} -o digits.mmedge")


if __name__ == "__main__":
    main()
