"""How many trainings panels take, and how long they would take on this machine, from a few timed steps."""

from closer_tf.terminal import console


def print_estimate(chosen, of_file, missing, options):
    """Print the number of trainings behind each panel, and how many of them are missing.

    Args:
        chosen: list of (path, `PanelFile`, name, `Panel`).
        of_file: dict path -> list of `Point`.
        missing: dict name -> `Point`, those without a finished run.
        options: the command line's.
    """
    for path, _, name, panel in chosen:
        points = of_file[path]
        trained = [point for point in points if point.trained]
        absent = [point for point in trained if point.name in missing]
        console().print(f"{name}: {panel.title}: {len(trained)} trainings, {len(absent)} to do", markup=False)
    console().print(
        f"{options.scale} scale: {sum(p.trained for p in missing.values())} trainings to do. Dry run: nothing was run."
    )
