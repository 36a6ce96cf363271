defmodule AxonPort.PlainTest do
  use ExUnit.Case, async: true

  alias AxonPort.Plain

  defmodule Point do
    @moduledoc false
    defstruct [:x, :y]
  end

  for {term, plain} <- [
        {nil, nil},
        {:null, nil},
        {:open, "open"},
        {1.5, 1.5},
        {1_180_591_620_717_411_303_424, 1_180_591_620_717_411_303_424},
        {"ü", "ü"},
        {{:a, 1}, ["a", 1]},
        {[], []},
        {[a: 1, a: 2], [["a", 1], ["a", 2]]},
        {%{a: [{true, 1}]}, %{"a" => [[true, 1]]}},
        {%{1 => true, :a => nil, "b" => []}, %{"1" => true, "a" => nil, "b" => []}},
        {~U[2026-11-20 09:00:00Z], "2026-11-20T09:00:00Z"},
        {~D[2026-11-20], "2026-11-20"},
        {1..3, [1, 2, 3]}
      ] do
    test "gives #{inspect(term)} the form #{inspect(plain)}" do
      assert Plain.from(unquote(Macro.escape(term))) == {:ok, unquote(Macro.escape(plain))}
    end
  end

  test "makes objects of structs, texts of those that are texts, arrays of sets" do
    assert Plain.from!(%Point{x: 1, y: :far}) == %{"x" => 1, "y" => "far"}
    assert Plain.from!(URI.parse("https://example.com/a")) == "https://example.com/a"
    assert Plain.from!(MapSet.new([2, 1])) == [1, 2]
  end

  test "takes a keyword list for an object where one is asked for" do
    assert Plain.object(a: 1, b: [c: 2]) == %{a: 1, b: [c: 2]}
    for other <- [%{a: 1}, [{"a", 1}], [], nil], do: assert(Plain.object(other) == other)
  end

  test "says where a term stands that has no form" do
    pid = self()
    assert Plain.from(%{a: [1, %{b: pid}]}) == {:error, {["a", 1, "b"], pid}}
    assert Plain.from(pid) == {:error, {[], pid}}
    assert Plain.from([1 | 2]) == {:error, {[], 2}}
    assert {:error, {["a"], <<255>>}} = Plain.from(%{a: <<255>>})
    assert {:error, {[], {1}}} = Plain.from(%{{1} => 2})
    assert_raise ArgumentError, ~r/at a\.1\.b/, fn -> Plain.from!(%{a: [1, %{b: pid}]}) end
  end
end
