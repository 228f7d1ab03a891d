"""What tables call a method with settings of its own."""

import pytest

from configs import cityscapes_1_2, pascal_1_16
from rcc_jax.config import method_group, schema
from rcc_jax.methods import METHODS
from rcc_jax.options import effectless
from rcc_jax.reporting import run_results


def another(value, declared):
    """Another value that a field may have."""
    if declared.choices:
        return next(each for each in reversed(declared.choices) if each not in (value, ""))
    return value + 1 if isinstance(value, int) else value / 2 + 0.01


@pytest.mark.parametrize("config", [pascal_1_16, cityscapes_1_2])
@pytest.mark.parametrize("name", METHODS)
def test_a_name_tells_what_differs_from_the_defaults_of_the_method(config, name):
    def named(**fields):
        changed = config.get_config(f"method={name}")
        changed.method.update(fields)
        return run_results.method_name(method_group.resolved(changed))

    assert named() == name
    own = schema.method_fields(name)
    resolved = method_group.resolved(config.get_config(f"method={name}"))["method"]
    others = {
        field: another(resolved[field], declared)
        for field, declared in own.items()
        if declared.in_tables and len(declared.choices) != 1
    }
    used = {field for field, value in others.items() if named(**{field: value}) != name}
    assert used == others.keys() - effectless(own, resolved).keys()
    assert len({named(**{field: others[field]}) for field in used}) == len(used)
    # The numbers of OHEM count where it is used, and so do those of other terms.
    ohem = {"labeled_loss": "ohem", "ohem_min_kept": 40_000, "ohem_threshold": 0.6}
    assert named(**ohem).endswith("OHEM threshold = 0.6, OHEM pixels = 40000")
    assert named(**{**ohem, "labeled_loss": "ce"}) == named(labeled_loss="ce")
    if "pseudo_labels" in own:
        assert named(pseudo_labels="soft", soft_share=0.9).endswith("soft, eta = 0.9")


def test_the_consensus_of_older_runs_keeps_its_name():
    config = method_group.resolved(pascal_1_16.get_config("method=cc,consensus=kl"))
    method = config["method"]
    method["consensus_kind"] = method.pop("consensus")
    assert run_results.method_name(config) == "cc, kl"
    method["consensus_kind"] = ""  # The method's own.
    assert run_results.method_name(config) == "cc"


def test_a_consensus_term_has_one_name():
    def named(arguments):
        return run_results.method_name(
            method_group.resolved(pascal_1_16.get_config(f"method={arguments}"))
        )

    assert named("unimatch,consensus=rank") == named("rcc") == "rcc"
    assert named("unimatch,consensus=rank,tau=0.1,top_n=5") == named("rcc,tau=0.1,top_n=5")
    assert named("unimatch,consensus=kl") == named("cc,kind=kl") == "cc, kl"
    assert named("fixmatch,consensus=rank,tau=0.1") == "fixmatch + rcc, tau = 0.1"
    assert named("unimatch_v2,consensus=l2") == "unimatch_v2 + cc l2"
    assert named("unimatch,consensus=soft,top_n=5") == "unimatch + soft targets, N = 5"
    assert named("rcc,pairs=top,pixels=agreeing") == "rcc, top pairs, agreeing pixels"
