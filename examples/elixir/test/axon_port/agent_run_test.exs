defmodule AxonPort.AgentRunTest do
  @moduledoc "Agents, types and tools of this side, as a worker and a model see them."

  use ExUnit.Case, async: true

  import AxonPort.RealWorker

  alias AxonPort.{Agent, Error, Result}

  defmodule Garment do
    @moduledoc false
    use AxonPort.Schema

    schema do
      field :kind, {:enum, [:coat, :hat]}
      field :layers, [__MODULE__], default: []
    end
  end

  defmodule Advice do
    @moduledoc "What to wear."
    use AxonPort.Schema

    schema do
      field :wear, Garment
      field :until, Date
      field :note, {:nullable, :string}, max_length: 20
      field :span, {:tuple, [:integer, :integer]}, optional: true
    end
  end

  defmodule Guide do
    @moduledoc false
    use AxonPort.Agent,
      model: {:script, AxonPort.AgentRunTest.script()},
      instructions: "For {{person}}.",
      deps: %{person: "Ada"},
      deps_schema: %{person: :string},
      output: Advice,
      output_retries: 0

    @tool description: "The weather of a day.", parameters: %{on: Date, at: {:nullable, :string}}
    def weather(%{on: %Date{} = day, at: nil}, context) do
      {:ok, %{degrees: 8, day: Date.add(day, 1), asked_by: context.agent.id}}
    end
  end

  def script do
    coat = %{kind: "coat", layers: [%{kind: "hat"}]}

    [
      %{tool_calls: [%{name: "weather", args: %{on: "2026-11-20", at: nil}}]},
      %{output: %{wear: coat, until: "2026-12-01", note: nil, span: [1, 2]}}
    ]
  end

  setup_all do
    %{worker: start_worker()}
  end

  defp returned(%Result{messages: messages}) do
    for %{"parts" => parts} <- messages,
        %{"part_kind" => kind} = part <- parts,
        kind in ["tool-return", "retry-prompt"] do
      part["content"]
    end
  end

  defp calls(turns), do: Enum.map(turns, fn args -> %{tool_calls: [%{name: "tried", args: args}]} end)

  # An agent whose model calls one tool with these arguments, one call a turn, and then says "done".
  defp trying(args, fields) do
    scripted("trying #{System.unique_integer()}", calls(args) ++ [%{text: "done"}],
      tools: [[name: "tried"] ++ fields]
    )
  end

  test "a module's agent runs: arguments are cast for its tool, the result into its struct", %{worker: worker} do
    assert {:ok, %Result{output: output} = result} = AxonPort.run_sync(worker, Guide, "What shall I wear?")

    assert output == %Advice{
             wear: %Garment{kind: :coat, layers: [%Garment{kind: :hat}]},
             until: ~D[2026-12-01],
             note: nil,
             span: {1, 2}
           }

    assert %{"degrees" => 8, "day" => "2026-11-21", "asked_by" => "AxonPort.AgentRunTest.Guide"} =
             hd(returned(result))
  end

  test "the worker holds the model to the schema", %{worker: worker} do
    for wrong <- [
          %{wear: %{kind: "shoe"}, until: "2026-12-01", note: nil},
          %{wear: %{kind: "coat"}, until: "2026-12-01", note: String.duplicate("long ", 5)},
          %{wear: %{kind: "coat"}, until: "2026-12-01", note: nil, more: 1},
          %{wear: %{kind: "coat", layers: [%{kind: 7}]}, until: "2026-12-01", note: nil}
        ] do
      agent = %{Agent.new(Guide) | id: "wrong", model: {:script, [%{output: wrong}]}}

      assert {:error, %Error{reason: :validation_error}} =
               AxonPort.run_sync(worker, agent, "What shall I wear?")
    end
  end

  test "a result that meets its schema and has no value is an error that says where", %{worker: worker} do
    never = %{wear: %{kind: "coat"}, until: "2026-02-31", note: nil}
    agent = %{Agent.new(Guide) | id: "never", model: {:script, [%{output: never}]}}

    assert {:error, %Error{reason: :invalid_output, message: message}} =
             AxonPort.run_sync(worker, agent, "When?")

    assert message =~ "until"
  end

  test "deps have to meet their type", %{worker: worker} do
    assert {:error, %Error{reason: :invalid_deps}} =
             AxonPort.run_sync(worker, Guide, "Hello", deps: %{person: 7})
  end

  describe "every type" do
    types = [
      :string,
      :integer,
      :number,
      :float,
      :boolean,
      :any,
      :map,
      :list,
      nil,
      Date,
      Time,
      DateTime,
      NaiveDateTime,
      [:string],
      {:map, :integer},
      {:tuple, [:string, {:tuple, [:integer]}]},
      %{:a => :string, {:optional, :b} => [%{c: :integer}]},
      %{},
      {:enum, [:a, "b", 1, nil]},
      {:nullable, Date},
      {:union, [:string, :integer]},
      {{:string, min_length: 1, pattern: ~r/^\d+$/}, description: "digits"},
      {[:integer], min_items: 1, unique_items: true},
      Garment,
      [Garment],
      {:map, Garment},
      %{garment: {:nullable, Garment}, advice: Advice},
      %{"type" => "object"},
      {:json_schema, true}
    ]

    test "is a schema that the worker takes, as an output and as a tool's parameter", %{worker: worker} do
      for {type, n} <- Enum.with_index(unquote(Macro.escape(types))) do
        tool = [
          name: "t",
          parameters: %{:given => type, {:optional, :left_out} => type},
          run: fn _args -> {:ok, nil} end
        ]

        tools = if match?(%{"type" => _}, type) or match?({:json_schema, _}, type), do: [], else: [tool]
        agent = Agent.new(id: "type #{n}", model: "test", output: type, tools: tools)
        assert {:ok, %{"agent_id" => _}} = AxonPort.create_agent(worker, agent), "refused: #{inspect(type)}"
      end
    end
  end

  describe "a tool" do
    test "sees no arguments that its parameters do not allow", %{worker: worker} do
      test = self()

      run = fn args ->
        send(test, {:called, args})
        {:ok, 1}
      end

      agent = trying([%{n: 0}, %{n: 5}], parameters: %{n: {:integer, minimum: 1}}, run: run)
      assert {:ok, %Result{output: "done"}} = AxonPort.run_sync(worker, agent, "go")
      assert_received {:called, %{n: 5}}
      refute_received {:called, _args}
    end

    test "that asks too often ends the run", %{worker: worker} do
      agent = trying([%{}, %{}], run: fn _args -> {:retry, "again"} end, retries: 0)
      assert {:error, %Error{reason: :tool_retries_exceeded}} = AxonPort.run_sync(worker, agent, "go")
    end

    test "that gives details has them in the run's error", %{worker: worker} do
      agent = trying([%{}], run: fn _args -> {:error, "gone", %{node: :db1}} end)

      assert {:error, %Error{message: message, details: %{"node" => "db1"}}} =
               AxonPort.run_sync(worker, agent, "go")

      assert message =~ "gone"
    end
  end
end
