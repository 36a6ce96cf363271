defmodule AxonPort.BackoffTest do
  use ExUnit.Case, async: true

  alias AxonPort.Backoff

  test "doubles from half to all of its base, up to its limit" do
    backoff = Backoff.new(base: 100, max: 1000)
    assert for(n <- 1..6, do: Backoff.delay(backoff, n, 0.0)) == [50, 100, 200, 400, 500, 500]
    assert for(n <- 1..6, do: Backoff.delay(backoff, n, 1.0)) == [100, 200, 400, 800, 1000, 1000]
    assert Backoff.delay(backoff, 1_000_000, 1.0) == 1000
  end

  test "waits at least a millisecond, and not always the same" do
    assert Backoff.delay(Backoff.new(base: 1, max: 1), 1, 0.0) == 1
    assert for(_ <- 1..20, do: Backoff.delay(%Backoff{}, 5)) |> Enum.uniq() |> length() > 1
  end

  test "takes nothing but milliseconds" do
    for wrong <- [[base: 0], [max: -1], [base: 1.5], [colour: 1]] do
      assert_raise ArgumentError, fn -> Backoff.new(wrong) end
    end
  end
end
