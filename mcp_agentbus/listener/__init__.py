# SPDX-License-Identifier: Apache-2.0
"""The background process of one user, which looks after its agents."""
