"""`python -m benchmarks.growth status|upsert|commits|batches`: one curve, printed as JSON."""

import typer

from benchmarks.growth import batches, commits, status, upsert

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
for module in (status, upsert, commits, batches):
    app.command(module.__name__.rpartition(".")[2])(module.main)

if __name__ == "__main__":
    app()
