"""The family of LuckyMonaco and Kyren: one envelope, one list of codes and the same callbacks, under other paths.

- `settings`: the provider's configuration.
- `closing`: encodes CloseSession and decodes its answer; `codes` lists the dialect's codes.
- `callbacks`: decodes SessionExpired and Result; `replies` encodes our answers.
- `strict_json` and `money`: read JSON objects and amounts.
- `simulator` and `simulator_deliveries`: the provider's side, which imports none of the modules above.
"""

from adapters.contract import SensitiveFields

MASKED = SensitiveFields(fields=frozenset({"token"}))
"""The only secret in the family's messages; `secureLogin` is a user name."""
