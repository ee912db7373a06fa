# SPDX-License-Identifier: Apache-2.0
"""One table of config.toml each: what it holds, and its keys."""
