defmodule AxonPort.StacktraceTest do
  use ExUnit.Case, async: true

  alias AxonPort.Stacktrace

  defp picky(:never), do: :ok

  defp caught(fun) do
    fun.()
  catch
    kind, reason -> {kind, reason, __STACKTRACE__}
  end

  defp without_arguments(fun) do
    {kind, reason, stacktrace} = caught(fun)
    Stacktrace.without_arguments(kind, reason, stacktrace)
  end

  test "a call that no clause took, or that is not there, shows how many arguments it had" do
    assert {%FunctionClauseError{function: :picky, arity: 1}, [{__MODULE__, :picky, 1, _location} | _]} =
             without_arguments(fn -> picky("secret") end)

    missing = String.to_atom("missing")

    assert {%UndefinedFunctionError{arity: 2}, [{__MODULE__, ^missing, 2, _location} | _]} =
             without_arguments(fn -> apply(__MODULE__, missing, ["secret", 1]) end)

    {%BadArityError{}, stacktrace} = without_arguments(fn -> apply(&picky/1, ["secret", 1]) end)
    refute inspect(stacktrace, limit: :infinity) =~ "secret"
  end

  test "an error of the runtime's is told as with them" do
    {exception, stacktrace} = without_arguments(fn -> String.to_existing_atom("secret secret") end)
    assert Exception.message(exception) =~ "already existing atom"
    assert [{:erlang, :binary_to_existing_atom, arity, _location} | _] = stacktrace
    assert is_integer(arity)
  end

  test "what a process exits with that has waited for another one shows none either" do
    {:error, reason, stacktrace} = caught(fn -> picky("secret") end)
    waited = {{reason, stacktrace}, {Task, :await, [:task, 5000]}}

    assert {{{:function_clause, [{__MODULE__, :picky, 1, _} | _]}, {Task, :await, [:task, 5000]}}, _own} =
             without_arguments(fn -> exit(waited) end)
  end

  test "what only looks like a stacktrace stays as it is" do
    for reason <- [
          {:rows, [{1, "Ada", [3], []}, {:a, :b, [1 | 2], []}]},
          {:badarg, [{:a, :b, 1, []} | :improper]},
          {:a, {:b, :c, 1}},
          :bye
        ] do
      assert {^reason, _stacktrace} = without_arguments(fn -> exit(reason) end)
      assert {^reason, _stacktrace} = without_arguments(fn -> throw(reason) end)
    end
  end

  test "a function that fails does so as if it had been called alone" do
    assert Stacktrace.call(fn -> :answer end) == :answer
    assert {:throw, :ball, [_ | _]} = caught(fn -> Stacktrace.call(fn -> throw(:ball) end) end)

    assert {:error, %FunctionClauseError{}, [{__MODULE__, :picky, 1, _location} | _]} =
             caught(fn -> Stacktrace.call(fn -> picky("secret") end) end)
  end
end
