defmodule AxonPort.ReadmeTest do
  @moduledoc "What the README says is so."
  use ExUnit.Case, async: true

  import AxonPort.RealWorker, only: [eventually: 2]
  import ExUnit.CaptureIO

  @readme File.read!(Path.expand("../../README.md", __DIR__))
  @script ~s'{:script, [%{tool_calls: [%{name: "weather", args: %{city: "Riga"}}]}, %{text: "Take a coat."}]}'

  test "ten lines are enough, with the script that it gives in place of a provider" do
    [_before, code | _rest] = String.split(@readme, ~r/```(elixir)?\n/)
    assert code |> String.split("\n", trim: true) |> length() <= 10
    assert @readme |> String.replace("\n", " ") =~ String.replace(@script, "\n", " ")
  end

  test "every example runs, in its order, with scripts in place of providers" do
    [first, more, clerk, answer, talk, deferred, options, errors, inside] =
      for [_all, code] <- Regex.scan(~r/^```elixir\n(.*?)^```$/ms, @readme), do: code

    capture_io(:stderr, fn ->
      evaluated("""
      defmodule Shop.Line do use AxonPort.Schema; schema do field :count, :integer end end
      defmodule Shop.Orders do def fetch("Ada", 17), do: {:ok, %{state: "shipped"}} end
      defmodule Shop.Refunds do
        use AxonPort.Agent, model: {:script, [%{tool_calls: [%{name: "refund", args: %{amount: 30}}]}]}
        @tool description: "Refunds.", parameters: %{amount: :integer}, approval: :deferred
        def refund(%{amount: amount}, _context), do: {:ok, amount}
      end
      """)

      output =
        capture_io(fn ->
          first
          |> String.replace("name: MyApp.Agents}", "name: MyApp.Agents, cluster: true}")
          |> scripted(@script)
          |> evaluated()
          |> then(&evaluated(more, &1))
        end)

      assert output |> String.split("Take a coat.") |> length() > 2

      evaluated(answer)
      call = ~s(%{tool_calls: [%{name: "find_order", args: %{number: 17}}]})
      said = ~s(%{output: %{text: "It is on its way.", state: "shipped"}})
      clerk |> scripted("{:script, [#{call}, #{said}]}") |> evaluated()
      evaluated(talk)

      {:ok, refunds} = AxonPort.Conversation.start(MyApp.Agents, agent: Shop.Refunds)

      deferred
      |> String.replace("Shop.Clerk", "Shop.Refunds")
      |> evaluated(conversation: refunds)

      [children: [{AxonPort.Supervisor, given}]] = options |> evaluated() |> Keyword.take([:children])

      assert %AxonPort.Options{grace: 10_000} =
               given |> Keyword.drop([:name, :workers]) |> AxonPort.Options.new()

      evaluated(errors)
      evaluated(inside)
    end)
  end

  setup do
    # Defined once more by another test, they would be warned of.
    on_exit(fn ->
      for module <- [MyApp.Guide, Shop.Answer, Shop.Clerk, Shop.Line, Shop.Orders, Shop.Refunds] do
        :code.delete(module)
        :code.purge(module)
      end
    end)
  end

  defp scripted(code, script) do
    assert code =~ ~s("openai:gpt-5.2")
    String.replace(code, ~s("openai:gpt-5.2"), script)
  end

  defp evaluated(code, binding \\ []), do: code |> Code.eval_string(binding) |> elem(1)

  test "the struct with a schema has one" do
    [code] = Regex.run(~r/^defmodule Shop\.Answer do\n.*?^end$/ms, @readme)
    Code.eval_string("defmodule Shop.Line do use AxonPort.Schema; schema do field :count, :integer end end")
    Code.eval_string(code)

    assert %{"description" => "What the customer is told.", "properties" => properties} =
             AxonPort.Schema.to_json(Shop.Answer)

    assert %{"text" => _, "state" => _, "lines" => _, "due" => %{"format" => "date"}} = properties
  end

  test "the doctor writes as is shown" do
    [_all, report] = Regex.run(~r/^\$ mix axon_port\.doctor\n(.*?)^```$/ms, @readme)
    lines = String.split(report, "\n", trim: true)

    for {line, name} <- Enum.zip(lines, [:program, :interpreter, :package, :codec, :start]) do
      [_all, found] = Regex.run(~r/^ok +\w+ +(.*)$/, line)

      assert AxonPort.PythonEnv.Check.format(%AxonPort.PythonEnv.Check{name: name, status: :ok, found: found}) ==
               line
    end

    assert length(lines) == 5
  end

  test "the tree is the one that is started" do
    name = AxonPort.ReadmeTest.Agents
    start_supervised!({AxonPort.Supervisor, name: name, workers: 1, cluster: true})

    for [_line, part] <- Regex.scan(~r/MyApp\.Agents\.(\w+)/, @readme), part not in ["run"] do
      assert Process.whereis(Module.concat(name, part)), "there is no #{part}"
    end

    eventually(fn -> AxonPort.Pool.workers(name) != [] end, "no worker is ready")
  end

  test "every event that a metric is made of exists" do
    kinds =
      for [_, kind] <- Regex.scan(~r/\[:axon_port, :(\w+)/, @readme),
          uniq: true,
          do: String.to_existing_atom(kind)

    assert Enum.sort(kinds) ==
             AxonPort.Telemetry.events() |> Enum.map(&Enum.at(&1, 1)) |> Enum.uniq() |> Enum.sort()
  end
end
