# SPDX-License-Identifier: Apache-2.0
"""How the larger groups of commands are typed; `parser` puts them together."""
