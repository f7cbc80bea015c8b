"""Make `churn.csv`: 2,000 customers of a telephone company that does not exist, always the same ones.

Run it from this directory: `python make_table.py`. Contract, tenure, support calls and a fibre line drive who
leaves; four columns have texts, three have holes, and one in twenty labels is wrong, as in life.
"""

from pathlib import Path

import numpy as np
import pandas as pd

SEED = 20_26
ROWS = 2_000


def make_table() -> pd.DataFrame:
    """Return the table, a row a customer."""
    random = np.random.default_rng(SEED)
    contract = random.choice(["month to month", "one year", "two years"], ROWS, p=[0.55, 0.25, 0.2])
    internet = random.choice(["fibre", "DSL", "none"], ROWS, p=[0.45, 0.35, 0.2])
    payment = random.choice(["card", "transfer", "invoice", "cash"], ROWS, p=[0.35, 0.3, 0.25, 0.1])
    region = random.choice(["north", "east", "south", "west"], ROWS)
    tenure = np.clip(random.gamma(1.6, 16, ROWS), 1, 72).round().astype(int)
    speed = np.select([internet == "fibre", internet == "DSL"], [46.0, 22.0], 0.0)
    charge = (20 + speed + random.normal(0, 6, ROWS)).clip(12, 110).round(2)
    calls = random.poisson(1.2, ROWS)
    tendency = (
        -1.4
        + np.select([contract == "month to month", contract == "one year"], [1.9, 0.2], -1.3)
        + 0.9 * (internet == "fibre")
        + 0.6 * (payment == "cash")
        - 0.045 * tenure
        + 0.65 * calls
        + 0.012 * (charge - 50)
    )
    leaves = random.random(ROWS) < 1 / (1 + np.exp(-1.5 * tendency))
    leaves ^= random.random(ROWS) < 0.05
    table = pd.DataFrame(
        {
            "tenure_months": tenure,
            "monthly_charge": charge,
            "support_calls": calls,
            "contract": contract,
            "internet": internet,
            "payment": payment,
            "region": region,
            "left": np.where(leaves, "yes", "no"),
        }
    )
    for column, share in (("monthly_charge", 0.06), ("payment", 0.08), ("region", 0.03)):
        table[column] = table[column].where(random.random(ROWS) >= share)
    return table


if __name__ == "__main__":
    make_table().to_csv(Path(__file__).with_name("churn.csv"), index=False, lineterminator="\n")
