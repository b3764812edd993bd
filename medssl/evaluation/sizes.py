"""How many patients a number needs before it is worth printing."""

from medssl.evaluation.units import Units

FEWEST_PATIENTS = 10  # of each class; below it no operating point and no calibration is estimated
COMMON_PATIENTS = 100  # of each class; a rule of thumb for validation (Vergouwe et al. 2005,
# J Clin Epidemiol 58:475; Collins et al. 2016, Stat Med 35:214)


def patients(units: Units, column: int) -> tuple[int, int]:
    """Return how many patients have a positive unit in a column, and how many a negative one."""
    return units.patients_with(column), units.patients_without(column)


def suffice(units: Units, column: int) -> bool:
    """Say whether both classes have enough patients for an operating point and calibration.

    Of an amount, whether there are enough patients with one.
    """
    if units.task == "regression":
        return units.only(column).n_patients >= FEWEST_PATIENTS
    return min(patients(units, column)) >= FEWEST_PATIENTS
