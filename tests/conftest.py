# SPDX-License-Identifier: Apache-2.0
"""What all tests share. That this file exists makes the helper modules beside it importable."""
