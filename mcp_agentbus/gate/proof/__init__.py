# SPDX-License-Identifier: Apache-2.0
"""By what is proven what an account may say in the place of another."""
