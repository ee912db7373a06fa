# SPDX-License-Identifier: Apache-2.0
"""Whether, when and by what an agent without a session is woken."""
