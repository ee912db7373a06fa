# SPDX-License-Identifier: Apache-2.0
"""Whether all is well here, and how to mend it."""
