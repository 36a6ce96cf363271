defmodule AxonPort.ResultTest do
  use ExUnit.Case, async: true

  alias AxonPort.{Error, Result}

  @type_of_it %{until: Date}

  defp result(output),
    do: %Result{output: output, agent_id: "guide", messages: [%{}], usage: %{"requests" => 1}}

  test "is cast by a type, and left alone without one" do
    assert {:ok, %Result{output: %{until: ~D[2026-12-01]}}} =
             Result.cast(result(%{"until" => "2026-12-01"}), @type_of_it)

    assert Result.cast(result("text"), nil) == {:ok, result("text")}
  end

  test "that is deferred has nothing to be cast" do
    deferred = %Result{status: :deferred}
    assert Result.cast(deferred, @type_of_it) == {:ok, deferred}
  end

  test "that has no value is an error that says where, and keeps what the run has said and cost" do
    assert {:error, %Error{reason: :invalid_output, retryable: false} = error} =
             Result.cast(result(%{"until" => "2026-02-31"}), @type_of_it)

    assert error.message =~ "at until"
    assert %{agent_id: "guide", messages: [%{}], usage: %{"requests" => 1}} = error
  end
end
