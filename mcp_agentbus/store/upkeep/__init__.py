# SPDX-License-Identifier: Apache-2.0
"""What whoever looks sees to for all who use the bus: what is lost, and what is kept back."""
