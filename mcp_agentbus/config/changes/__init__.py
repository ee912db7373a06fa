# SPDX-License-Identifier: Apache-2.0
"""How a program changes config.toml, and leaves the rest of it as its user wrote it."""
