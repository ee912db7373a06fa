# SPDX-License-Identifier: Apache-2.0
"""How each host is woken; one file a host, behind one protocol."""
