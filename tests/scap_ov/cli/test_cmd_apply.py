"""What `apply` says of a limit of the loss."""

from scap_ov.cli.cmd_apply import held_limit


def test_a_limit_of_perplexity_is_told_in_percent():
    found = {"limit": "perplexity 0.01", "loss": 0.007, "interval_95": [0.0043, 0.0096], "tokens": 4599}
    assert held_limit(found) == "perplexity rises by 0.70% on 4,599 held-out tokens (95 % interval 0.43% to 0.96%); the limit is 1.00%"


def test_a_limit_of_the_divergence_is_told_in_nats():
    found = {"limit": "kl 0.02", "loss": 0.0181, "interval_95": [0.0171, 0.0192], "tokens": 512}
    assert held_limit(found) == "the divergence is 0.0181 nats on 512 held-out tokens (95 % interval 0.0171 to 0.0192); the limit is 0.02"
