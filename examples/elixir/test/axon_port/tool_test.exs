defmodule AxonPort.ToolTest do
  use ExUnit.Case, async: true

  alias AxonPort.Tool

  defmodule FindOrder do
    @moduledoc false
    use AxonPort.Tool,
      description: "Finds an order.",
      parameters: %{number: :integer},
      timeout: 5_000,
      retries: 2

    @impl true
    def call(%{number: number}, _context), do: {:ok, number}
  end

  test "a module is a tool of its own name" do
    tool = Tool.new(FindOrder)
    assert tool.name == "find_order"
    assert tool.run.(%{number: 3}, %{}) == {:ok, 3}

    assert Tool.to_command(tool) == %{
             "name" => "find_order",
             "description" => "Finds an order.",
             "parameters" => %{
               "type" => "object",
               "properties" => %{"number" => %{"type" => "integer"}},
               "required" => ["number"],
               "additionalProperties" => false
             },
             "timeout_ms" => 5_000,
             "retries" => 2
           }
  end

  test "a function is a tool by what is said of it, and takes no arguments unless it says so" do
    tool = Tool.new(name: "clock", run: fn _args -> {:ok, 12} end)

    assert Tool.to_command(tool) == %{
             "name" => "clock",
             "parameters" => %{"type" => "object", "properties" => %{}, "additionalProperties" => false}
           }
  end

  test "a tool that somebody approves requires approval" do
    tool =
      Tool.new(
        name: "refund",
        run: fn _args -> {:ok, nil} end,
        approve: fn _request, _context -> :approve end
      )

    assert %{"requires_approval" => true} = Tool.to_command(tool)
  end

  test "an approval that is given after the run is required too" do
    tool = Tool.new(name: "refund", run: fn _args -> {:ok, nil} end, approval: :deferred)
    assert %{"requires_approval" => true, "approval" => "deferred"} = Tool.to_command(tool)
  end

  test "a deferred tool and one of the worker need nothing to run" do
    assert %{"handler" => "deferred", "parameters" => %{}} =
             Tool.to_command(Tool.new(name: "ship", handler: :deferred))

    python = Tool.to_command(Tool.new(name: "tax", handler: {:python, "shop.tools:tax"}))
    assert python == %{"name" => "tax", "handler" => %{"python" => "shop.tools:tax"}}
  end

  for {nonsense, message} <- [
        {quote(do: [run: &inspect/1]), ~r/name/},
        {quote(do: [name: "", run: &inspect/1]), ~r/:name/},
        {quote(do: [name: "a"]), ~r/something to run/},
        {quote(do: [name: "a", run: &inspect/1, handler: {:python, "a:b"}]), ~r/worker/},
        {quote(do: [name: "a", run: fn -> :ok end]), ~r/:run/},
        {quote(do: [name: "a", run: &inspect/1, timeout: 0]), ~r/:timeout/},
        {quote(do: [name: "a", run: &inspect/1, parameters: [:integer]]), ~r/parameters/},
        {quote(do: [name: "a", run: &inspect/1, parameters: %{a: :int}]), ~r/no type/},
        {quote(do: [name: "a", run: &inspect/1, colour: 1]), ~r/:colour/},
        {quote(do: URI), ~r/URI is no tool/}
      ] do
    test "#{Macro.to_string(nonsense)} is no tool" do
      assert_raise ArgumentError, unquote(Macro.escape(message)), fn -> Tool.new(unquote(nonsense)) end
    end
  end
end
