"""Operations on lazy arrays."""
